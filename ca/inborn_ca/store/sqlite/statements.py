"""Statements that many tables share. What is put into them are names from this package; values are bound."""

# ruff: noqa: S608 (see above)

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inborn.errors import NotFoundError
from inborn_ca.store.sqlite.codec import Row
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["delete", "insert", "marks", "update"]


def insert(handle: Handle, table: str, columns: str, row: Row) -> None:
    """One row more."""
    handle.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks(row)})", row)


def update(
    handle: Handle, table: str, columns: Sequence[str], values: Sequence[object], key: str, key_value: object, what: str
) -> None:
    """Change the row with this key. Raises `NotFoundError`, which names `what`."""
    updates = ", ".join(f"{column} = ?" for column in columns)
    cursor = handle.execute(f"UPDATE {table} SET {updates} WHERE {key} = ?", (*values, key_value))
    if not cursor.rowcount:
        raise NotFoundError(f"no {what}")


def delete(handle: Handle, table: str, key: str, key_value: object, what: str) -> None:
    """Delete the row with this key. Raises `NotFoundError`, which names `what`."""
    if not handle.execute(f"DELETE FROM {table} WHERE {key} = ?", (key_value,)).rowcount:
        raise NotFoundError(f"no {what}")


def marks(values: Iterable[object]) -> str:
    """So many question marks."""
    return ", ".join("?" for _ in values)
