"""What messages of the CA's feeds say, as values. Pure; `feed.feed_reading` reads them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from inborn._internal.revocation.revocation_log import LogPart, RevocationLog
from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.selectors.demand import Demand, unmet_demands
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.certificate_parts import InvalidSvid, key_identifiers
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_bundle import X509Bundle

__all__ = [
    "Authority",
    "DomainUpdate",
    "FeedEntry",
    "Heartbeat",
    "NodeUpdate",
    "SnapshotPart",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A root or issuing authority with its current CRL, DER."""

    certificate: x509.Certificate
    key_id: bytes
    """The subject key identifier; empty where the certificate has none, and then no certificate leads to it."""
    state: AuthorityState
    crl: bytes = b""

    @classmethod
    def of(cls, certificate: x509.Certificate, state: AuthorityState, crl: bytes = b"") -> Self:
        try:
            key_id, _ = key_identifiers(certificate)
        except InvalidSvid:
            key_id = b""
        return cls(certificate=certificate, key_id=key_id, state=state, crl=crl)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """What an agent knows of a registration entry: whoever on its node has all these selectors, and meets what
    the posture policies demand besides, is this SPIFFE ID."""

    id: str
    spiffe_id: SpiffeId
    selectors: frozenset[Selector]
    ttl: dt.timedelta
    hint: str = ""
    revision: int = 0
    """Rises with each change of the entry, also of what an agent is not told (DNS names)."""
    demands: tuple[Demand, ...] = ()
    """Of the posture policies that hold for its ID; they may change while the entry does not."""
    revoke_when_lost: bool = False
    """What a process had is revoked when it no longer qualifies."""

    def is_meant_for(self, selectors: frozenset[Selector]) -> bool:
        """Whether a process with these selectors is meant, whatever else is demanded. Without selectors nobody is."""
        return bool(self.selectors) and self.selectors <= selectors

    def is_matched_by(self, selectors: frozenset[Selector]) -> bool:
        """Whether a process with these selectors is meant, and no posture policy refuses it."""
        return self.is_meant_for(selectors) and not self.unmet(selectors)

    def missing(self, selectors: frozenset[Selector]) -> list[Selector]:
        """The selectors of the entry that the process does not have."""
        return sorted(self.selectors - selectors)

    def unmet(self, selectors: frozenset[Selector]) -> list[Demand]:
        """The demands that the process does not meet."""
        return unmet_demands(self.demands, selectors) if self.demands else []


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainUpdate:
    """Content of the domain feed. None and empty mean unchanged, except in a snapshot, where all is there."""

    snapshot: bool
    bundle: X509Bundle | None
    authorities: tuple[Authority, ...]
    revocation_seq: int
    revocations: tuple[Revocation, ...] = ()
    """New revocations; a snapshot has all of them in `log` instead."""
    dropped: tuple[int, ...] = ()
    log: RevocationLog | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """A message of a snapshot of the domain feed. What is not revocations stands in the first one."""

    log_id: bytes
    revision: int
    id: bytes
    number: int
    more: bool
    bundle: X509Bundle | None
    authorities: tuple[Authority, ...]
    revocations: LogPart
    revocation_seq: int

    def is_of(self, other: SnapshotPart) -> bool:
        """Whether both are parts of one snapshot."""
        mine, others = ((part.id, part.log_id, part.revision, part.revocation_seq) for part in (self, other))
        return mine == others and bool(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUpdate:
    """Content of a node's feed. In a snapshot `entries` are all that there are."""

    snapshot: bool
    entries: tuple[FeedEntry, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Says that the CA is alive and that nothing is missing."""

    revocation_seq: int
    interval: dt.timedelta
