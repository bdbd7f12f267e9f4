"""Registration entries: whoever, on this node, has all these selectors, is this SPIFFE ID, for this long.

`check_entry` says whether an entry may exist, `decide` whether it entitles a workload of an agent now. Neither knows
what is blocked or revoked, nor whether the node that an entry names exists: whoever calls looks at that.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from inborn._internal.selectors.selector import Selector, parse_selector
from inborn._internal.selectors.weakness import weaknesses
from inborn._internal.spiffe.spiffe_id import ALIAS_SUFFIX, SpiffeId, TrustDomain, from_operator_input
from inborn.errors import DeniedError, RequestError, duration
from inborn_ca.model.dns_name import check_dns_name, is_at_or_below
from inborn_ca.model.records import Member, MemberKind

__all__ = [
    "AGENT_PREFIX",
    "Entry",
    "EntryDenied",
    "Grant",
    "InvalidEntry",
    "NodeKind",
    "NodeMatch",
    "check_entry",
    "check_node_name",
    "decide",
    "entry_warnings",
    "find_duplicate",
]

AGENT_PREFIX = "/inborn/agent/"
"""Path under which the IDs of agents lie."""

MAX_SELECTORS = 64  # a process has some 30 facts; an entry that names more has been generated wrongly
MAX_DNS_NAMES = 16  # each is some 30 bytes of every certificate, and of every handshake
MAX_COMMON_NAME = 64  # characters, RFC 5280 appendix A.1, ub-common-name
MAX_HINT = 1024  # bytes, SPIFFE Workload API 5.2.1

_NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a path segment of a SPIFFE ID may hold
_ENTRY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Control characters, surrogates, line and paragraph separators: what could end a log's line or cannot be encoded.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


class InvalidEntry(RequestError):
    """A registration entry may not exist like this; the message names the rule."""


class EntryDenied(DeniedError):
    """The entry does not entitle this workload of this agent; the message names the rule."""


class NodeKind(StrEnum):
    AGENT = "agent"
    NAME = "name"
    GROUP = "group"
    SELECTOR = "selector"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class NodeMatch:
    """On which nodes an entry counts: one agent's, those of a name or a group, those of which the evidence that they
    enrolled with has said a selector, or any. Valid if it exists."""

    kind: NodeKind
    value: str = ""

    def __post_init__(self) -> None:
        match self.kind:
            case NodeKind.ANY if self.value:
                raise InvalidEntry("node 'any' takes no value")
            case NodeKind.NAME | NodeKind.GROUP:
                check_node_name(self.value)
            case NodeKind.SELECTOR:
                parse_selector(self.value)

    @classmethod
    def parse(cls, text: str, trust_domain: TrustDomain) -> Self:
        """Read `spiffe://td/inborn/agent/x`, `name:x`, `group:x`, `selector:type:value` or `any`.

        Raises `InvalidEntry`, `InvalidSpiffeId`, `SelectorError`.

        Not checked: that such an agent, name, group or selector exists.
        """
        kind, colon, value = text.partition(":")
        if text == NodeKind.ANY:
            return cls(kind=NodeKind.ANY)
        if colon and kind in (NodeKind.NAME, NodeKind.GROUP, NodeKind.SELECTOR):
            return cls(kind=NodeKind(kind), value=value)
        if "://" not in text:
            raise InvalidEntry(
                f"node {_shown(text)} is none of spiffe://.../inborn/agent/ID, name:NAME, group:GROUP, "
                "selector:TYPE:VALUE, any"
            )
        agent = from_operator_input(text)
        if agent.trust_domain != trust_domain:
            raise InvalidEntry(f"node {agent} is outside the trust domain {trust_domain}")
        if not agent.path.startswith(AGENT_PREFIX):
            raise InvalidEntry(f"node {agent} is not the ID of an agent, {trust_domain.id}{AGENT_PREFIX}ID")
        return cls(kind=NodeKind.AGENT, value=str(agent))

    def matches(self, member: Member) -> bool:
        """Whether `member` is an agent on such a node. A daemon without an agent never is."""
        if member.kind is not MemberKind.AGENT:
            return False
        match self.kind:
            case NodeKind.AGENT:
                return str(member.spiffe_id) == self.value
            case NodeKind.NAME:
                return member.name == self.value
            case NodeKind.GROUP:
                return self.value in member.groups
            case NodeKind.SELECTOR:
                return any(str(selector) == self.value for selector in member.selectors)
            case NodeKind.ANY:
                return True

    def __str__(self) -> str:
        match self.kind:
            case NodeKind.AGENT:
                return self.value
            case NodeKind.ANY:
                return "any"
            case _:
                return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A registration entry. That it may exist is what `check_entry` says, with the CA's settings."""

    id: str
    spiffe_id: SpiffeId
    selectors: frozenset[Selector]
    node: NodeMatch
    ttl: dt.timedelta
    dns_names: tuple[str, ...] = ()
    common_name: str = ""
    hint: str = ""
    revoke_when_lost: bool = False
    """The agent revokes what it fetched for a workload that no longer qualifies."""
    revision: int = 0
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What may be put into a certificate, and for how long."""

    spiffe_id: SpiffeId
    ttl: dt.timedelta
    dns_names: tuple[str, ...]
    common_name: str
    entry_id: str


def check_node_name(name: str) -> None:
    """Refuse a name or group of a node that could not be told apart or typed again. Raises `InvalidEntry`."""
    if not _NODE_NAME.fullmatch(name):
        raise InvalidEntry(f"name {_shown(name)} of a node is not of 1 to 64 characters A-Z a-z 0-9 . _ -")


def check_entry(
    entry: Entry,
    *,
    trust_domain: TrustDomain,
    min_ttl: dt.timedelta,
    max_ttl: dt.timedelta,
    ca_names: Collection[str] = (),
) -> None:
    """Refuse an entry that may not exist. `ca_names` are the DNS names under which the CA itself is reached.

    Not checked: duplicates (`find_duplicate`), that the node exists, blocks. Raises `InvalidEntry`, `InvalidDnsName`.
    """
    if not _ENTRY_ID.fullmatch(entry.id):
        raise InvalidEntry(f"entry id {_shown(entry.id)} is not of 1 to 64 characters A-Z a-z 0-9 . _ -")
    _check_spiffe_id(entry.spiffe_id, trust_domain)
    if not entry.selectors:
        raise InvalidEntry("entry has no selector, everybody on the node would have its ID")
    if len(entry.selectors) > MAX_SELECTORS:
        raise InvalidEntry(f"entry has {len(entry.selectors)} selectors, at most {MAX_SELECTORS}")
    _check_node(entry, trust_domain)
    if entry.ttl.microseconds:
        raise InvalidEntry(f"ttl {entry.ttl.total_seconds()} s is not of whole seconds")
    if not min_ttl <= entry.ttl <= max_ttl:
        raise InvalidEntry(f"ttl {duration(entry.ttl)} is not between {duration(min_ttl)} and {duration(max_ttl)}")
    _check_names(entry, ca_names)
    if len(entry.hint.encode(errors="replace")) > MAX_HINT:
        raise InvalidEntry(f"hint is longer than {MAX_HINT} bytes")
    _check_text("hint", entry.hint)


def _check_spiffe_id(spiffe_id: SpiffeId, trust_domain: TrustDomain) -> None:
    if spiffe_id.trust_domain != trust_domain:
        raise InvalidEntry(f"id {spiffe_id} is outside the trust domain {trust_domain}")
    if not spiffe_id.path:
        raise InvalidEntry(f"id {spiffe_id} has no path, it is the trust domain's own")
    if spiffe_id.is_reserved:
        raise InvalidEntry(f"id {spiffe_id} lies under the reserved path /inborn/")


def _check_node(entry: Entry, trust_domain: TrustDomain) -> None:
    if entry.node.kind is NodeKind.AGENT:
        NodeMatch.parse(entry.node.value, trust_domain)


def _check_names(entry: Entry, ca_names: Collection[str]) -> None:
    if len(entry.dns_names) > MAX_DNS_NAMES:
        raise InvalidEntry(f"entry has {len(entry.dns_names)} DNS names, at most {MAX_DNS_NAMES}")
    if len(set(entry.dns_names)) != len(entry.dns_names):
        raise InvalidEntry("entry names a DNS name twice")
    for name in entry.dns_names:
        check_dns_name(name, forbidden=ca_names)
    if len(entry.common_name) > MAX_COMMON_NAME:
        raise InvalidEntry(f"common name has {len(entry.common_name)} characters, at most {MAX_COMMON_NAME}")
    _check_text("common name", entry.common_name)
    if entry.common_name != entry.common_name.strip():
        raise InvalidEntry(f"common name {_shown(entry.common_name)} begins or ends with a blank")
    # Old software takes a common name for a DNS name.
    if "*" in entry.common_name:
        raise InvalidEntry(f"common name {_shown(entry.common_name)} is a wildcard")
    for reserved in (ALIAS_SUFFIX[1:], *ca_names):
        if is_at_or_below(entry.common_name, reserved):
            raise InvalidEntry(
                f"common name {_shown(entry.common_name)} lies at or under {reserved}, which is reserved"
            )


def _check_text(what: str, text: str) -> None:
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise InvalidEntry(f"{what} contains the character U+{ord(character):04X}, control characters are refused")


def find_duplicate(entry: Entry, entries: Iterable[Entry]) -> Entry | None:
    """Another entry of the same ID, selectors and node, if there is one."""
    for other in entries:
        if (
            other.id != entry.id
            and other.spiffe_id == entry.spiffe_id
            and other.selectors == entry.selectors
            and other.node == entry.node
        ):
            return other
    return None


def entry_warnings(entry: Entry) -> list[str]:
    """What an admin should know of an entry that may exist. One line each."""
    return weaknesses(entry.selectors, is_any_node=entry.node.kind is NodeKind.ANY)


def decide(entry: Entry | None, *, agent: Member, selectors: frozenset[Selector]) -> Grant:
    """Grant what `entry` says to a workload with `selectors` on the node of `agent`, or raise `EntryDenied`.

    Not checked: that `agent` asked (its signature), that the selectors are true (the agent's word), blocks.
    """
    if entry is None:
        raise EntryDenied("no such entry", rule="entry")
    if agent.banned_at is not None:
        raise EntryDenied(f"agent {agent.spiffe_id} is banned since {agent.banned_at:%Y-%m-%dT%H:%M:%SZ}", rule="ban")
    if not entry.node.matches(agent):
        raise EntryDenied(f"entry {entry.id} is for node {entry.node}, not for {agent.spiffe_id}", rule="node")
    if not entry.selectors:
        raise EntryDenied(f"entry {entry.id} has no selector", rule="selector")
    missing = sorted(entry.selectors - selectors)
    if missing:
        raise EntryDenied(
            f"entry {entry.id} wants {missing[0]}, which the workload has not", rule="selector", missing=tuple(missing)
        )
    return Grant(
        spiffe_id=entry.spiffe_id,
        ttl=entry.ttl,
        dns_names=entry.dns_names,
        common_name=entry.common_name,
        entry_id=entry.id,
    )


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
