"""What can go wrong with the database, whichever one keeps it."""

from __future__ import annotations

from inborn.errors import InternalError, PreconditionError, UnavailableError

__all__ = [
    "BackupNotRestored",
    "ConstraintBroken",
    "DatabaseDamaged",
    "DatabaseUnavailable",
    "ForeignDatabase",
    "StoreVersionError",
]


class StoreVersionError(PreconditionError):
    """The database was written by a program that is newer, or too old to be carried over."""


class ForeignDatabase(PreconditionError):
    """The file is not a database of Inborn's."""


class BackupNotRestored(PreconditionError):
    """The file is a backup: it becomes a database by being restored, never by being opened."""


class DatabaseDamaged(InternalError):
    """The file has been damaged, or is no database any more."""


class DatabaseUnavailable(UnavailableError):
    """The database cannot be read or written now: no room, an error of the disk, somebody else's lock."""


class ConstraintBroken(InternalError):
    """A row breaks a constraint: a service asked for what must not be."""
