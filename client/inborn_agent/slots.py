"""The values that the cache speaks in: what it wants, holds, shows and drops. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from inborn.demand import Demand
from inborn.rotation import Schedule
from inborn.selector import Selector
from inborn.svid import CertificateFacts, X509Svid
from inborn_agent.entry import AgentEntry

__all__ = ["Dropped", "Effects", "Held", "Refusal", "Slot", "View", "Want"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Something to ask the CA for: a new key and a certificate for this entry."""

    entry: AgentEntry
    selectors: frozenset[Selector]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An SVID and the entry that it is held for."""

    entry: AgentEntry
    svid: X509Svid


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An entry that a process would have, did it meet this demand of a rule; there may be more that it does not."""

    entry: AgentEntry
    unmet: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one subscriber may have now, its default identity first."""

    held: tuple[Held, ...]
    entries: int
    """How many entries it matches."""
    is_settled: bool
    """Whether the CA has answered, or failed to, for each of them."""
    denial: str
    """Why the CA refuses, where it does."""
    problem: str
    """Why the CA could not be asked, where that failed."""
    refused: tuple[Refusal, ...] = ()
    """Entries whose selectors it has, and which a rule of the trust domain refuses to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An SVID that is held no more."""

    entry_id: str
    svid: X509Svid
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What follows. `notify` are subscribers whose view may have changed."""

    notify: frozenset[int] = frozenset()
    dropped: tuple[Dropped, ...] = ()
    must_rotate_agent: bool = False
    """The CA wants this agent's own certificate renewed as well."""


@dataclass(slots=True)
class Slot:
    """An entry that somebody asked for, with its SVID or the reason why there is none. Only the cache changes it."""

    entry: AgentEntry
    selectors: frozenset[Selector]
    schedule: Schedule
    subscribers: set[int] = field(default_factory=set)
    wanted_until: dt.datetime | None = None
    svid: X509Svid | None = None
    facts: CertificateFacts | None = None
    is_asking: bool = False
    asked_at: dt.datetime | None = None
    denial: str = ""
    problem: str = ""

    def is_wanted(self, now: dt.datetime) -> bool:
        return bool(self.subscribers) or (self.wanted_until is not None and now < self.wanted_until)

    @property
    def is_settled(self) -> bool:
        return self.svid is not None or bool(self.denial) or bool(self.problem)
