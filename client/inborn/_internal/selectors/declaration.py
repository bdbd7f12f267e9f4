"""What a kind of workload attestor declares of its selectors: their types and keys, whose word each is, what it proves.

The agent's code for a kind takes its selectors from here. So do the CA and the command, which warn of entries that rest
on too little, and the reference page. They may not import the agent, so a declaration is a value of the library.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AttestorDeclaration", "SelectorKey", "SelectorType", "TrustClass"]


class TrustClass(enum.Enum):
    """Whose word a selector is, the strongest first."""

    KERNEL = "kernel"
    """Read from the kernel, about the very process that asks. What a process may do to itself is among it (posture)."""
    RUNTIME = "runtime"
    """Said by the container engine or by systemd, about something that it made itself."""
    STARTER = "starter"
    """Chosen freely by whoever started the container, and only passed on by the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorKey:
    """One fact that selectors of a type state: `uid` in `unix:uid:1000`."""

    name: str
    example: str
    """A value, as it stands after the key."""
    says: str
    """For the reference page, in one line of Markdown."""
    forger: str
    """Who could make a process have this fact without being what it says. For the reference page."""
    trust: TrustClass
    is_party_fact: bool = False
    """Whether another user of the machine cannot have the fact. One uid is a single party."""
    may_be: Callable[[str], bool] = bool
    """Whether a process can have this value at all. Pure."""
    otherwise: str = "is not what an agent says"
    """What is said of a selector whose value no process can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorType:
    """All that selectors of one type can say. Keys are SPIRE's where SPIRE has the type."""

    name: str
    keys: tuple[SelectorKey, ...]
    spire_keys: frozenset[str] = frozenset()
    """Further keys that SPIRE has for this type. No agent produces them; entries that name them can be carried over."""
    alone: str = ""
    """What an entry has to be told that has selectors of this type and of no other; empty: nothing."""

    def key(self, name: str) -> SelectorKey | None:
        """What is declared of this key; None: nothing, no agent produces it."""
        return next((key for key in self.keys if key.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestorDeclaration:
    """What one kind of workload attestor says. `kind` is the name of its folder in the agent."""

    kind: str
    about: str
    """Markdown of the reference page, above the table of its selectors."""
    types: tuple[SelectorType, ...]
    caution: str = ""
    """Markdown below the table."""
