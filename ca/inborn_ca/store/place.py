"""Where a CA's database lies. For those who only ask whether there is one: nothing is opened or imported here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["database_file", "exists"]


def exists(directory: Path) -> bool:
    """Whether the CA of this directory has a database. Not checked: that it can be opened."""
    return database_file(directory).exists()


def database_file(directory: Path) -> Path:
    """The database of a CA that keeps its own. For the store alone."""
    return directory / "inborn.db"
