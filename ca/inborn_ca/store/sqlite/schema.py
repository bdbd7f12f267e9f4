"""Which schema a database has, and how one of an older program is carried over: `user_version` says how far it is."""

from __future__ import annotations

import datetime as dt
import secrets
from pathlib import Path

from inborn_ca.store.errors import BackupNotRestored, ForeignDatabase, StoreVersionError
from inborn_ca.store.sqlite.codec import to_micros
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.migrations import MIGRATIONS

__all__ = ["APPLICATION_ID", "VERSION", "check_identity", "migrate"]

APPLICATION_ID = 0x494E4252  # "INBR": tells our files from other programs'

VERSION = len(MIGRATIONS)

_OLDEST = 1  # the oldest version that can still be carried over


def check_identity(handle: Handle, path: Path) -> int:
    """The schema's version; 0 for an empty file.

    Raises `ForeignDatabase`, `BackupNotRestored`, `StoreVersionError`, and `DatabaseDamaged` for what cannot be read.
    """
    application = _pragma(handle, "application_id")
    version = _pragma(handle, "user_version")
    tables = {name for (name,) in handle.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables and not application and not version:
        return 0
    if application != APPLICATION_ID:
        raise ForeignDatabase(f"{path} is a database of another program")
    if version > VERSION:
        raise StoreVersionError(
            f"{path} has schema version {version}, this program knows up to {VERSION}",
            hint="install the newer program that wrote it, or restore a backup of an older one",
        )
    if version < _OLDEST:
        raise StoreVersionError(
            f"{path} has schema version {version}, this program carries over from {_OLDEST}",
            hint="open it once with a program in between",
        )
    if "backup_key" in tables:
        raise BackupNotRestored(f"{path} is a backup", hint="restore it: inborn ca restore")
    return version


def migrate(handle: Handle, version: int, *, now: dt.datetime) -> None:
    """Bring a database from `version` to `VERSION`, each step in a transaction of its own."""
    if version == VERSION:
        return
    import sqlite_utils

    db = sqlite_utils.Database(handle.raw)
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        handle.begin()
        try:
            step(db)
            if number == 1:
                handle.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                # Which incarnation of the database revisions and revocation_seq belong to.
                handle.execute("INSERT INTO meta VALUES ('log_id', ?)", (secrets.token_hex(16),))
                handle.execute("INSERT INTO meta VALUES ('created_at', ?)", (str(to_micros(now)),))
            handle.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            handle.roll_back()
            raise
        handle.commit()


def _pragma(handle: Handle, name: str) -> int:
    row = handle.row(f"PRAGMA {name}")
    return int(row[0]) if row else 0
