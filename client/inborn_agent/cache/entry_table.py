"""The registration entries of this node, and which of them a process matches. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.selectors.selector import Selector

__all__ = ["EntryTable"]


class EntryTable:
    """The entries by ID, and by one selector of each, so that a match does not look at all of them."""

    def __init__(self) -> None:
        self._entries: dict[str, FeedEntry] = {}
        self._buckets: dict[Selector, set[str]] = {}
        self._bucket_of: dict[str, Selector] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[FeedEntry]:
        return iter(self._entries.values())

    def get(self, entry_id: str) -> FeedEntry | None:
        return self._entries.get(entry_id)

    def put(self, entry: FeedEntry) -> None:
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

    def match(self, selectors: frozenset[Selector]) -> list[FeedEntry]:
        """All entries that a process with these selectors matches, the most specific first."""
        return [entry for entry in self.meant_for(selectors) if not entry.unmet(selectors)]

    def meant_for(self, selectors: frozenset[Selector]) -> list[FeedEntry]:
        """The same, and those that a policy refuses to the process."""
        found = [
            entry
            for selector in selectors
            for entry in (self._entries[entry_id] for entry_id in self._buckets.get(selector, ()))
            if entry.is_meant_for(selectors)
        ]
        return sorted(found, key=_rank)

    def nearest(self, selectors: frozenset[Selector], *, limit: int) -> list[FeedEntry]:
        """The entries that the process matches or misses by the fewest facts; looks at all of them."""
        return sorted(self, key=lambda entry: (_distance(entry, selectors), _rank(entry)))[:limit]


def _distance(entry: FeedEntry, selectors: frozenset[Selector]) -> int:
    return len(entry.selectors - selectors) + len(entry.unmet(selectors))


def _rank(entry: FeedEntry) -> tuple[int, str, str]:
    # The first identity of a response is the default one: the most specific, and always the same.
    return (-len(entry.selectors), str(entry.spiffe_id), entry.id)
