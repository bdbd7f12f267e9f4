"""How SQLite's errors become ours."""

from __future__ import annotations

import sqlite3

from inborn.errors import InbornError, InternalError
from inborn_ca.store.errors import ConstraintBroken, DatabaseDamaged, DatabaseUnavailable, ForeignDatabase

__all__ = ["translate"]

_FOREIGN = {sqlite3.SQLITE_NOTADB}
_DAMAGED = {sqlite3.SQLITE_CORRUPT}
_UNAVAILABLE = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error, or is full",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_READONLY: "the file, or its disk, cannot be written",
    sqlite3.SQLITE_PERM: "access to the file is denied",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_NOMEM: "there is no memory",
}


def translate(error: Exception) -> InbornError:
    """Our error for one of SQLite's. `fatal` in its facts says that the whole transaction is lost."""
    text = f"{error}".splitlines()[0] if f"{error}" else type(error).__name__
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code below the extended one
        if code in _FOREIGN:
            return ForeignDatabase(f"not a database: {text}")
        if code in _DAMAGED:
            return DatabaseDamaged(
                f"database is damaged: {text}", hint="stop the CA and restore a backup: inborn ca restore", fatal=True
            )
        if code in _UNAVAILABLE:
            hint = "make room; what was under way has been undone" if code == sqlite3.SQLITE_FULL else ""
            return DatabaseUnavailable(f"database cannot be used: {_UNAVAILABLE[code]} ({text})", hint=hint, fatal=True)
        if isinstance(error, sqlite3.IntegrityError):
            return ConstraintBroken(f"database refuses a row: {text}")
    return InternalError(f"database: {type(error).__name__}: {text}")
