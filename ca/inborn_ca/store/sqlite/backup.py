"""Backups: a consistent copy in one file, made while the CA runs, with its keys encrypted or without.

A backup is not a database that can be opened: what was issued after it was made is unknown to it, so it must be
restored first, which gives it another log_id. A table that only backups have tells them apart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from inborn._internal.host.files import new_file
from inborn.errors import NotFoundError
from inborn_ca.store.errors import DatabaseDamaged, ForeignDatabase
from inborn_ca.store.sqlite.handle import open_reader
from inborn_ca.store.sqlite.translation import translate

__all__ = ["DATABASE_FILES", "read_backup_keys", "write_backup"]

DATABASE_FILES = ("-journal", "-wal", "-shm")
"""Endings of what SQLite makes beside a database (https://www.sqlite.org/tempfiles.html)."""

_MARK = "CREATE TABLE backup_key (key_id BLOB PRIMARY KEY, pkcs8 BLOB NOT NULL) STRICT, WITHOUT ROWID"


def write_backup(source: Path, target: Path, keys: Sequence[tuple[bytes, bytes]]) -> int:
    """Copy the database at `source`, durably, and return the size. Writers go on meanwhile; what they add is not in it.

    Raises `AlreadyExistsError`, `UnavailableError`; nothing is left behind then.
    """
    try:
        with new_file(target, leftovers=DATABASE_FILES) as partial:
            _copy(source, partial, keys)
        return target.stat().st_size
    except sqlite3.Error as e:
        raise translate(e) from e


def _copy(source: Path, partial: Path, keys: Sequence[tuple[bytes, bytes]]) -> None:
    reader = open_reader(source)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            # In one step: it reads one snapshot, and the log lets writers go on.
            reader.raw.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute("BEGIN")
            copy.execute(_MARK)
            copy.executemany("INSERT INTO backup_key VALUES (?, ?)", keys)
            copy.execute("COMMIT")
    finally:
        reader.close()


def read_backup_keys(path: Path, *, remove: bool) -> list[tuple[bytes, bytes]]:
    """The encrypted keys in a backup, as (key_id, PKCS#8). All of its pages are checked.

    With `remove` the file stops being a backup and can be opened: whoever does that to a copy restores it. Raises
    `NotFoundError`, `ForeignDatabase` if it is no backup, `DatabaseDamaged`.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no backup at {path}")
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            marked = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'backup_key'").fetchone()
            if marked is None:
                raise ForeignDatabase(f"{path} is not a backup")
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise DatabaseDamaged(f"backup {path} is damaged: {result}")
            keys = connection.execute("SELECT key_id, pkcs8 FROM backup_key ORDER BY key_id").fetchall()
            if remove:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("DROP TABLE backup_key")
    except sqlite3.Error as e:
        raise translate(e) from e
    return [(bytes(key_id), bytes(pkcs8)) for key_id, pkcs8 in keys]
