"""The values that the cache speaks in: what it wants, holds, shows and drops. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.selectors.demand import Demand
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.rotation import Schedule
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts

__all__ = ["Dropped", "Effects", "Held", "IssueRefusal", "S", "Slot", "Svid", "View", "Want"]


class Svid(Protocol):
    """What the cache has to know of an SVID of any kind. What it is besides, chain and key, is for who is given it."""

    @property
    def spiffe_id(self) -> SpiffeId: ...

    @property
    def facts(self) -> CertificateFacts:
        """Whose it is, which one, from which authority and for how long. Reading them may cost something."""
        ...

    @property
    def issued_at(self) -> dt.datetime | None:
        """When it was fetched, by this process's clock."""
        ...


S = TypeVar("S", bound=Svid)
"""The kind of SVID that a cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Something to ask the CA for: a new key and a certificate for this entry."""

    entry: FeedEntry
    selectors: frozenset[Selector]
    number: int = 0
    """Of this request: an answer to an earlier one for the same entry says nothing of the one that is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Generic[S]):
    """An SVID and the entry that it is held for."""

    entry: FeedEntry
    svid: S


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRefusal:
    """An entry that a process would have, did it meet this demand of a policy; there may be more that it does not."""

    entry: FeedEntry
    unmet: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[S]):
    """What one subscriber may have now, its default identity first."""

    held: tuple[Held[S], ...]
    entries: int
    """How many entries it matches."""
    is_settled: bool
    """Whether the CA has answered, or failed to, for each of them."""
    denial: str
    """Why the CA refuses, where it does."""
    problem: str
    """Why the CA could not be asked, where that failed."""
    refused: tuple[IssueRefusal, ...] = ()
    """Entries whose selectors it has, and which a posture policy refuses to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An SVID that is held no more."""

    entry_id: str
    svid: Svid
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What follows. `notify` are subscribers whose view may have changed."""

    notify: frozenset[int] = frozenset()
    dropped: tuple[Dropped, ...] = ()


@dataclass(slots=True)
class Slot(Generic[S]):
    """An entry that somebody asked for, with its SVID or the reason why there is none. Only the cache changes it."""

    entry: FeedEntry
    selectors: frozenset[Selector]
    schedule: Schedule
    subscribers: set[int] = field(default_factory=set)
    wanted_until: dt.datetime | None = None
    svid: S | None = None
    facts: CertificateFacts | None = None
    asking: int = 0
    """Number of the request that is under way; 0: none."""
    asked_at: dt.datetime | None = None
    denial: str = ""
    problem: str = ""

    @property
    def is_asking(self) -> bool:
        return self.asking != 0

    def is_wanted(self, now: dt.datetime) -> bool:
        """Whether it is to be asked for: somebody is there, or was a while ago and would still get it."""
        if self.subscribers:
            return True
        is_warm = self.wanted_until is not None and now < self.wanted_until
        return is_warm and self.entry.is_matched_by(self.selectors)

    @property
    def is_settled(self) -> bool:
        return self.svid is not None or bool(self.denial) or bool(self.problem)
