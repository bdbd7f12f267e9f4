"""What a daemon without an agent does with the CA's feed: revocations and roots are taken in and kept."""

from __future__ import annotations

import asyncio
import dataclasses

from inborn._internal.feed.feed_content import DomainUpdate
from inborn._internal.feed.feed_verifier import FeedUpdate
from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn.errors import InbornError
from inborn_member.feed_follower import Place
from inborn_member.kept_revocations import KeptRevocations
from inborn_member.own_identity import OwnIdentity
from inborn_proto import ca_pb2

__all__ = ["DaemonFeed"]

_log = get_logger("daemon.sync")


class DaemonFeed:
    """A `Subscriber`. After a start it stands nowhere: the CA sends a snapshot, and what was kept holds until then."""

    def __init__(self, own: OwnIdentity, kept: KeptRevocations, revocations: RevocationSet) -> None:
        self._own = own
        self._kept = kept
        self.revocations = revocations
        self.changed = asyncio.Event()
        self._place = Place()
        self._ack: ca_pb2.WatchAck | None = None
        self._bad: frozenset[bytes] = frozenset()
        """Key identifiers of authorities that are to be revoked."""

    def place(self, member: SpiffeId | None) -> Place:
        return self._place

    async def apply(self, update: FeedUpdate) -> None:
        """Take it in, let every open connection be looked at, and keep it."""
        content = update.content
        if not isinstance(content, DomainUpdate):
            return
        if content.log is not None:
            self.revocations.apply_log(content.log)
        else:
            self.revocations.apply_delta(update.log_id, content.revocation_seq, content.revocations, content.dropped)
        self._place = Place(log_id=update.log_id, domain_revision=update.revision)
        if content.authorities:
            self._bad = frozenset(a.key_id for a in content.authorities if a.state.is_bad)
            crls = tuple(authority.crl for authority in content.authorities if authority.crl)
            self._own.source.touch(dataclasses.replace(self._own.source.snapshot(), crls=crls))
        self._own.trust(content.bundle, update.log_id)
        try:
            await self._own.keep_bundle()
            await asyncio.to_thread(self._kept.save, self.revocations)
        except InbornError as error:
            # Applied it is, and that is what an acknowledgement says; the warning says the rest.
            _log.warning("revocations.not_kept", reason=error.message)
        self._ack = ca_pb2.WatchAck(
            domain_revision=update.revision, revocation_seq=self.revocations.seq, log_id=update.log_id
        )

    def is_outdated(self, facts: CertificateFacts) -> bool:
        return facts.authority in self._bad

    def heard(self, monotonic: float) -> None:
        self._own.source.touch(dataclasses.replace(self._own.source.snapshot(), heard_at=monotonic))

    def connected(self) -> None:
        """Nothing waits for it."""

    def ended(self, error: InbornError) -> None:
        """The follower tries again."""

    def alarm(self, kind: str, message: str) -> None:
        """The log has it; a daemon has no status."""

    def ack(self, stream: X509Svid | None) -> ca_pb2.WatchAck | None:
        """None before the first change has been applied and kept."""
        if self._ack is None:
            return None
        ack = ca_pb2.WatchAck()
        ack.CopyFrom(self._ack)
        ack.outdated = sum(self.is_outdated(s.facts) for s in (self._own.svid, stream) if s is not None)
        return ack

    def ack_changes_in(self) -> float | None:
        return None
