"""The store in one SQLite file: opening it, transactions, readers."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inborn._internal.host.files import create_file, sync_directory
from inborn.errors import UnavailableError
from inborn_ca.store.errors import DatabaseDamaged, ForeignDatabase
from inborn_ca.store.sqlite.backup import write_backup
from inborn_ca.store.sqlite.handle import Handle, open_reader, open_writer, start_log
from inborn_ca.store.sqlite.interning import Names
from inborn_ca.store.sqlite.reader import SqliteReader
from inborn_ca.store.sqlite.schema import check_identity, migrate
from inborn_ca.store.sqlite.transaction import SqliteTransaction
from inborn_ca.store.sqlite.translation import translate

if TYPE_CHECKING:
    from inborn_ca.store.interface import ReadHandle, Store, Transaction

__all__ = ["SqliteStore", "open_sqlite"]

_MAGIC = b"SQLite format 3\0"


def open_sqlite(path: Path, *, now: dt.datetime) -> SqliteStore:
    """Open the database at `path`; lay it out if there is none, carry it over if it is of an older program.

    A new one gets a `log_id` (16 random bytes, hex) among its meta values. Not checked: every page of a database
    that is there (that takes as long as reading it), and that no other process has it open.

    Raises `ForeignDatabase` for another program's file, `StoreVersionError` for a newer program's, `BackupNotRestored`,
    `DatabaseDamaged`, `DatabaseUnavailable`.
    """
    _make_file(path)
    _check_header(path)
    writer = open_writer(path)
    try:
        version = check_identity(writer, path)
        start_log(writer)
        migrate(writer, version, now=now)
    except BaseException:
        writer.close()
        raise
    return SqliteStore(writer)


class SqliteStore:
    """What `interface.Store` asks for. Made by `open_sqlite`.

    `transaction` is for one thread at a time, and for one transaction at a time.
    """

    def __init__(self, writer: Handle) -> None:
        self.writer = writer
        self._names = Names(writer)
        self._transaction = SqliteTransaction(writer, self._names)
        self._reading: weakref.WeakSet[Handle] = weakref.WeakSet()

    @property
    def path(self) -> Path:
        return self.writer.path

    @property
    def location(self) -> str:
        return str(self.writer.path)

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Begin; commit with a full sync at the end, or leave nothing of it if the block raises.

        Raises `DatabaseUnavailable` when there is no room or the disk fails, from whichever statement meets it; what
        follows in the block raises it again. The next transaction begins afresh.
        """
        self.writer.begin()
        try:
            self._transaction.begin()
            yield self._transaction
            self._transaction.finish()
            self.writer.commit()
        except BaseException as e:
            self._names.forget_new()
            self.writer.roll_back()
            if isinstance(e, sqlite3.Error):
                raise translate(e) from e
            raise
        self._names.keep_new()

    def reader(self) -> SqliteReader:
        """A read-only handle of its own, for use in one other thread at a time."""
        handle = open_reader(self.path)
        self._reading.add(handle)
        return SqliteReader(handle)

    def backup(self, path: Path, *, keys: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Write a consistent copy while others go on; `keys` are (key_id, encrypted PKCS#8). Returns bytes.

        May run in a thread of its own. The copy is no database that can be opened: it must be restored. Raises
        `AlreadyExistsError` if there is something at `path`.
        """
        return write_backup(self.path, path, keys)

    def size(self) -> int:
        """Bytes on disk, with the log that has not been written back yet."""
        total = 0
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                total += os.stat(f"{self.path}{suffix}").st_size
        return total

    def close(self) -> None:
        """Close every handle, those of readers as well. What was committed is durable already."""
        for handle in list(self._reading):
            handle.close()
        self.writer.close()


def _make_file(path: Path) -> None:
    """Make an empty file that others cannot read; SQLite gives its log and index the same mode."""
    try:
        create_file(path)
        sync_directory(path.parent)
    except FileExistsError:
        return
    except OSError as e:
        raise UnavailableError(f"database {path} cannot be made: {e.strerror}") from e


_ADVICE = "move it out of the way, and restore a backup: inborn ca restore"


def _check_header(path: Path) -> None:
    """Look at the first bytes before SQLite does, which would take a short foreign file for an empty one."""
    try:
        with path.open("rb") as file:
            header = file.read(16)
    except OSError as e:
        raise UnavailableError(
            f"database {path} cannot be read: {e.strerror}", hint="it has to be the signer's user's, mode 0600"
        ) from e
    if header and header != _MAGIC:
        if _MAGIC.startswith(header):
            raise DatabaseDamaged(f"{path} is cut off", hint=_ADVICE)
        raise ForeignDatabase(f"{path} is not a database", hint=_ADVICE)


if TYPE_CHECKING:
    # The type checker's proof that this is what the services ask for.
    def _store(store: SqliteStore) -> Store:
        return store

    def _transaction(transaction: SqliteTransaction) -> Transaction:
        return transaction

    def _reader(reader: SqliteReader) -> ReadHandle:
        return reader
