"""Names that come again and again in the ledger, as integers, through a cache.

What a transaction has added is forgotten when it, or a savepoint of it, is undone: the database forgets it as well.
"""

# ruff: noqa: S608 (what is put into statements are names of tables and columns from this package; values are bound)

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from inborn._internal.selectors.selector import Selector
from inborn.errors import InternalError
from inborn_ca.store.sqlite import codec
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["Names"]

MAX_CACHED = 100_000  # names of each sort: tens of megabytes; beyond, the cache is begun anew

_DAY = dt.timedelta(days=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Names:
    """The cache of one writer."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._known: dict[tuple[str, object], int] = {}
        self._sets: dict[tuple[Selector, ...], tuple[int, int]] = {}
        self._new: list[tuple[str, object]] = []
        self._new_sets: list[tuple[Selector, ...]] = []

    def identity(self, spiffe_id: str) -> int:
        return self._intern("identity", "spiffe_id", spiffe_id)

    def entry(self, entry_id: str) -> int:
        return self._intern("entry_name", "entry_id", entry_id)

    def authority(self, key_id: bytes) -> int:
        return self._intern("authority_name", "key_id", key_id)

    def selectors(self, selectors: Sequence[Selector], time: dt.datetime) -> int:
        """A set is kept as long as what was issued for it, so the day of its last use is noted, once a day."""
        key, day = tuple(selectors), (time - _EPOCH) // _DAY
        known = self._sets.get(key)
        if known is not None and known[1] >= day:
            return known[0]
        row = self._handle.row(
            "INSERT INTO selector_set (selectors, used_day) VALUES (?, ?) "
            "ON CONFLICT (selectors) DO UPDATE SET used_day = max(used_day, excluded.used_day) RETURNING id, used_day",
            (codec.selectors_text(key), day),
        )
        if row is None:
            raise InternalError("set of selectors was not written")
        self._trim()
        self._sets[key] = (int(row[0]), int(row[1]))
        self._new_sets.append(key)
        return int(row[0])

    def forget_new(self) -> None:
        """A transaction or savepoint was undone."""
        for name in self._new:
            self._known.pop(name, None)
        for key in self._new_sets:
            self._sets.pop(key, None)
        self.keep_new()

    def keep_new(self) -> None:
        """The transaction was committed."""
        self._new.clear()
        self._new_sets.clear()

    def forget_all(self) -> None:
        """Names were deleted."""
        self._known.clear()
        self._sets.clear()
        self.keep_new()

    def _intern(self, table: str, column: str, value: object) -> int:
        name = (table, value)
        known = self._known.get(name)
        if known is not None:
            return known
        row = self._handle.row(f"SELECT id FROM {table} WHERE {column} = ?", (value,))
        if row is None:
            row = self._handle.row(f"INSERT INTO {table} ({column}) VALUES (?) RETURNING id", (value,))
        if row is None:
            raise InternalError(f"row of {table} was not written")
        self._trim()
        self._known[name] = int(row[0])
        self._new.append(name)
        return int(row[0])

    def _trim(self) -> None:
        if len(self._known) >= MAX_CACHED or len(self._sets) >= MAX_CACHED:
            self.forget_all()
