"""What the agent knows, and what follows from each thing that the CA says. No input, no output, no clock.

Entries, bundle, authorities and revocations come from the CA's feeds (`apply_domain`, `apply_node`). Which X509-SVIDs
are asked for, held, given and dropped is what a `SlotTable` decides. This one knows which of them are revoked, and
which were signed by an authority that is not good any more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from inborn._internal.feed.feed_content import Authority
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.recent_revocations import RecentRevocations
from inborn_agent.cache.slot_table import SlotTable
from inborn_agent.cache.slots import Effects

__all__ = ["Cache"]


class Cache(SlotTable[X509Svid]):
    """See the module's text. `spread` gives random numbers from 0 to 1. Belongs to one thread."""

    def __init__(self, *, trust_domain: TrustDomain, spread: Callable[[], float]) -> None:
        super().__init__(spread=spread)
        self.trust_domain = trust_domain
        self.bundle: X509Bundle | None = None
        self.authorities: tuple[Authority, ...] = ()
        self.revocations = RevocationSet()
        self.revocation_log = RecentRevocations()
        self.domain_mark: tuple[bytes, int] = (b"", 0)
        """log_id and revision of the domain feed that has been applied."""
        self.node_mark: tuple[bytes, int] = (b"", 0)
        self.node: SpiffeId | None = None
        """Whose entries these are."""

    # What there is.

    @property
    def is_synced(self) -> bool:
        """Whether both feeds have been heard, now or before the agent was restarted."""
        return self.bundle is not None and self.domain_mark[0] != b"" and self.node_mark[0] != b""

    @property
    def crls(self) -> tuple[bytes, ...]:
        """The CRLs of all authorities, DER."""
        return tuple(authority.crl for authority in self.authorities if authority.crl)

    def is_outdated(self, facts: CertificateFacts) -> bool:
        """Whether its authority is tainted or revoked: the certificate is to be renewed at once."""
        return any(a.key_id == facts.authority and a.state.is_bad for a in self.authorities)

    def why_revoked(self, facts: CertificateFacts) -> str | None:
        """The revocation that the certificate falls under, in words; None if there is none."""
        revocation = self.revocations.find(facts)
        return None if revocation is None else f"revocation {revocation.seq} of {revocation.target}"

    # What the CA says.

    def apply_domain(self, change: DomainChange, now: dt.datetime) -> Effects:
        """Bundle, authorities, revocations. Raises `RevocationGap`, and changes nothing, if revocations are missing."""
        log_id, seq = change.log_id, change.revocation_seq
        if change.is_snapshot:
            log = change.log or RevocationLog(log_id, seq, change.revocations)
            self.revocations.apply_log(log)
            self.revocation_log.reset()
        else:
            added = self.revocations.apply_delta(log_id, seq, change.revocations, change.dropped)
            self.revocation_log.append(tuple(added), change.dropped)
        self.domain_mark = (log_id, change.revision)
        is_visible = False
        if change.bundle is not None:
            is_visible |= self.bundle is None or change.bundle.der() != self.bundle.der()
            self.bundle = change.bundle
        if change.authorities is not None:
            crls = self.crls
            self.authorities = change.authorities
            is_visible |= crls != self.crls
            self.hurry_outdated(now)
        effects = self.expire(now)
        self.heard(now)
        notify = frozenset(self._subscribers) if is_visible else effects.notify
        return Effects(notify=notify, dropped=effects.dropped)

    def apply_node(self, change: NodeChange, now: dt.datetime) -> Effects:
        """Entries of this node: new, changed, removed; and the wish to rotate."""
        gone = set(change.removed)
        if change.is_snapshot:
            gone |= {entry.id for entry in self.entries} - {entry.id for entry in change.entries}
        effects = self.change_entries(change.entries, gone, now)
        self.node_mark, self.node = (change.log_id, change.revision), change.node
        self.heard(now)
        return effects
