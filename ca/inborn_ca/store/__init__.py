"""The store of a CA on one machine: SQLite behind the interface."""

from inborn_ca.store.errors import (
    BackupNotRestored,
    ConstraintBroken,
    DatabaseDamaged,
    DatabaseUnavailable,
    ForeignDatabase,
    StoreVersionError,
)
from inborn_ca.store.sqlite.backup import DATABASE_FILES, read_backup_keys
from inborn_ca.store.sqlite.sqlite_store import SqliteStore, open_store

__all__ = [
    "DATABASE_FILES",
    "BackupNotRestored",
    "ConstraintBroken",
    "DatabaseDamaged",
    "DatabaseUnavailable",
    "ForeignDatabase",
    "SqliteStore",
    "StoreVersionError",
    "open_store",
    "read_backup_keys",
]
