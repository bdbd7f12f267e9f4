"""What is known of the database as a whole: the table `meta`."""

from __future__ import annotations

from inborn_ca.store.sqlite.handle import Handle

__all__ = ["MetaReads", "MetaWrites"]


class MetaReads:
    """Reads of `interface.meta`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def get(self, key: str) -> str | None:
        row = self._handle.row("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])


class MetaWrites(MetaReads):
    """Writes of `interface.meta`."""

    __slots__ = ()

    def set(self, key: str, value: str) -> None:
        self._handle.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )
