"""One connection to SQLite: how it is opened, and where its errors become ours.

After an error that may have undone the transaction (no room, a damaged page), SQLite would run further statements each
on their own. A handle therefore refuses them until the transaction has been ended.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inborn.errors import InbornError, InternalError
from inborn_ca.store.sqlite.translation import translate

__all__ = ["Handle", "open_reader", "open_writer", "start_log"]

BUSY_TIMEOUT = 5.0  # seconds: a checkpoint or a backup holds a lock for less; a second CA would hold it for ever
CACHE_KIB = 64 * 1024  # ten million rows insert as fast as one thousand while the tree's upper pages stay in memory
WAL_LIMIT = 64 * 1024 * 1024  # bytes: to what the log is cut once a burst is over

Parameters = Sequence[object]


class Handle:
    """A connection in autocommit mode; transactions are begun and ended by name.

    For one thread at a time; which one may change. It closes itself when nobody holds it any more: a port of a reader
    may outlive the reader.
    """

    __slots__ = ("__weakref__", "_connection", "_is_writing", "_lock", "_lost", "path")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        # A connection that one thread closes while another reads is a crash of the process, not an exception.
        self._lock = threading.RLock()
        self._is_writing = False
        self._lost: InbornError | None = None
        self.path = path

    @property
    def raw(self) -> sqlite3.Connection:
        """For what needs the connection itself: migrations, backups."""
        return self._connection

    @property
    def is_lost(self) -> bool:
        """Whether the transaction that was under way has been undone."""
        return self._lost is not None

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement. Raises what `translate` makes of SQLite's errors."""
        if self._lost is not None:
            raise self._lost
        try:
            with self._lock:
                return self._connection.execute(sql, parameters)
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as e:
            raise self._failed(e) from e

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Run one statement for each row."""
        if self._lost is not None:
            raise self._lost
        try:
            with self._lock:
                self._connection.executemany(sql, rows)
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as e:
            raise self._failed(e) from e

    def row(self, sql: str, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """All rows. Errors while they are fetched are translated as well."""
        with self._lock:
            cursor = self.execute(sql, parameters)
            try:
                return cursor.fetchall()
            except sqlite3.Error as e:
                raise self._failed(e) from e

    def begin(self) -> None:
        """Begin to write. Raises `InternalError` if a transaction is under way on this handle."""
        if self._is_writing:
            raise InternalError("a transaction is under way")
        self.execute("BEGIN IMMEDIATE")
        self._is_writing = True

    def commit(self) -> None:
        """Make it durable. If that fails, nothing of it is there, and the error is raised."""
        try:
            self.execute("COMMIT")
        except BaseException:
            self.roll_back()
            raise
        self._is_writing = False

    def roll_back(self) -> None:
        """End the transaction, if there is one, with nothing of it done; the handle can be used again."""
        self._is_writing, self._lost = False, None
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close it; a statement that another thread runs on it ends first, and its next one is refused."""
        with self._lock:
            self._connection.close()

    def __del__(self) -> None:
        self._connection.close()

    def _failed(self, error: Exception) -> InbornError:
        ours = translate(error)
        if self._is_writing and ours.facts.get("fatal"):
            self._lost = ours
        return ours


def open_writer(path: Path) -> Handle:
    """Open the one handle that writes; the file is there. Nothing is written before `start_log`.

    Every commit is synced to the disk before it returns.
    """
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as e:
        raise translate(e) from e
    return _set_up(
        Handle(connection, path),
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        f"PRAGMA journal_size_limit = {WAL_LIMIT}",
        f"PRAGMA cache_size = -{CACHE_KIB}",
    )


def start_log(handle: Handle) -> None:
    """Write ahead from now on, so that readers and the writer do not wait for each other. Kept in the file."""
    mode = handle.row("PRAGMA journal_mode = WAL")
    if mode != ("wal",):
        raise InternalError(f"database {handle.path} cannot be written ahead, its mode is {mode}")


def open_reader(path: Path) -> Handle:
    """Open a handle that cannot write, beside the one that does."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as e:
        raise translate(e) from e
    return _set_up(Handle(connection, path), "PRAGMA query_only = ON")


def _set_up(handle: Handle, *pragmas: str) -> Handle:
    try:
        for pragma in pragmas:
            handle.rows(pragma)
    except BaseException:
        handle.close()
        raise
    return handle
