"""Which processes hold SVIDs that are to be revoked when nobody who qualifies holds them any more. Pure.

Theory of operation. An SVID is *given* to a holder, a process under a number of its own. A holder is *lost* when its
process has ended, has become another program, or no longer qualifies for the entry. An SVID that was given, and that
after a loss nobody holds, is an orphan; so is the one before it, as long as it is alive: a process keeps what it had.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

__all__ = ["Holders", "Orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An SVID that nobody holds any more."""

    entry_id: str
    serial: bytes
    not_after: dt.datetime


@dataclass(slots=True)
class _Given:
    orphan: Orphan
    holders: set[int] = field(default_factory=set)


class Holders:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._given: dict[bytes, _Given] = {}

    def __contains__(self, holder: int) -> bool:
        return any(holder in given.holders for given in self._given.values())

    def gave(self, holder: int, entry_id: str, serial: bytes, not_after: dt.datetime) -> None:
        """The process holds this SVID from now on."""
        given = self._given.get(serial)
        if given is None:
            orphan = Orphan(entry_id=entry_id, serial=serial, not_after=not_after)
            given = self._given[serial] = _Given(orphan)
        given.holders.add(holder)

    def entries_of(self, holder: int) -> set[str]:
        """For which entries the process holds something."""
        return {given.orphan.entry_id for given in self._given.values() if holder in given.holders}

    def lost(self, holder: int, entry_id: str | None = None) -> list[Orphan]:
        """The process counts no more, for this entry or for all; gives what nobody holds now."""
        orphans = []
        for serial, given in list(self._given.items()):
            if holder in given.holders and entry_id in (None, given.orphan.entry_id):
                given.holders.discard(holder)
                if not given.holders:
                    del self._given[serial]
                    orphans.append(given.orphan)
        return orphans

    def expire(self, now: dt.datetime) -> None:
        """Forget what has expired."""
        for serial, given in list(self._given.items()):
            if given.orphan.not_after <= now:
                del self._given[serial]
