"""What an agent knows of the registration entries of its node, and which of them a process matches. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from inborn.demand import Demand, unmet_demands
from inborn.selector import Selector
from inborn.spiffeid import SpiffeId

__all__ = ["AgentEntry", "EntryTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """Whoever on this node has all these selectors, and meets what rules demand, is this SPIFFE ID."""

    id: str
    spiffe_id: SpiffeId
    selectors: frozenset[Selector]
    ttl: dt.timedelta
    hint: str = ""
    revision: int = 0
    """Rises with each change of the entry, also of what an agent is not told (DNS names)."""
    demands: tuple[Demand, ...] = ()
    """Of the rules that hold for its ID; they may change while the entry does not."""
    revoke_when_lost: bool = False
    """What a process had is revoked when it no longer qualifies."""

    def is_meant_for(self, selectors: frozenset[Selector]) -> bool:
        """Whether a process with these selectors is meant, whatever rules demand. Without selectors nobody is."""
        return bool(self.selectors) and self.selectors <= selectors

    def is_matched_by(self, selectors: frozenset[Selector]) -> bool:
        """Whether a process with these selectors is meant, and no rule refuses it."""
        return self.is_meant_for(selectors) and not self.unmet(selectors)

    def missing(self, selectors: frozenset[Selector]) -> list[Selector]:
        """The selectors of the entry that the process does not have."""
        return sorted(self.selectors - selectors)

    def unmet(self, selectors: frozenset[Selector]) -> list[Demand]:
        """The demands that the process does not meet."""
        return unmet_demands(self.demands, selectors) if self.demands else []


class EntryTable:
    """The entries by ID, and by one selector of each, so that a match does not look at all of them."""

    def __init__(self) -> None:
        self._entries: dict[str, AgentEntry] = {}
        self._buckets: dict[Selector, set[str]] = {}
        self._bucket_of: dict[str, Selector] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[AgentEntry]:
        return iter(self._entries.values())

    def get(self, entry_id: str) -> AgentEntry | None:
        return self._entries.get(entry_id)

    def put(self, entry: AgentEntry) -> None:
        """Add the entry, or replace the one of the same ID."""
        self.remove(entry.id)
        self._entries[entry.id] = entry
        if entry.selectors:
            # The rarest selector so far: many entries share a uid, few a path.
            key = min(entry.selectors, key=lambda selector: (len(self._buckets.get(selector, ())), selector))
            self._buckets.setdefault(key, set()).add(entry.id)
            self._bucket_of[entry.id] = key

    def remove(self, entry_id: str) -> None:
        """Forget the entry, if it is there."""
        self._entries.pop(entry_id, None)
        key = self._bucket_of.pop(entry_id, None)
        if key is not None:
            bucket = self._buckets[key]
            bucket.discard(entry_id)
            if not bucket:
                del self._buckets[key]

    def match(self, selectors: frozenset[Selector]) -> list[AgentEntry]:
        """All entries that a process with these selectors matches, the most specific first."""
        return [entry for entry in self.meant_for(selectors) if not entry.unmet(selectors)]

    def meant_for(self, selectors: frozenset[Selector]) -> list[AgentEntry]:
        """The same, and those that a rule refuses to the process."""
        found = [
            entry
            for selector in selectors
            for entry in (self._entries[entry_id] for entry_id in self._buckets.get(selector, ()))
            if entry.is_meant_for(selectors)
        ]
        return sorted(found, key=_rank)

    def nearest(self, selectors: frozenset[Selector], *, limit: int) -> list[AgentEntry]:
        """The entries that the process matches or misses by the fewest facts; looks at all of them."""
        return sorted(self, key=lambda entry: (_distance(entry, selectors), _rank(entry)))[:limit]


def _distance(entry: AgentEntry, selectors: frozenset[Selector]) -> int:
    return len(entry.selectors - selectors) + len(entry.unmet(selectors))


def _rank(entry: AgentEntry) -> tuple[int, str, str]:
    # The first identity of a response is the default one: the most specific, and always the same.
    return (-len(entry.selectors), str(entry.spiffe_id), entry.id)
