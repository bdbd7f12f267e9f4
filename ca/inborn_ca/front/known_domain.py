"""What the front knows of its trust domain, from the messages that pass through it (no input or output).

The front believes the signer, so signatures are not checked here; the agents check them. Recent messages are kept, so
that a stream which was cut can go on where it was: those under the signer's present log certificate, because whoever
comes back could not verify the others once theirs has expired.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from inborn._internal.feed.feed_content import DomainUpdate, SnapshotPart
from inborn._internal.feed.feed_reading import read_content
from inborn._internal.feed.snapshot_reader import SnapshotReader
from inborn._internal.revocation.revocation_set import Revocation, RevocationSet
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.wire.messages import revocation_from_wire
from inborn.errors import InternalError, PreconditionError
from inborn_proto import feed_pb2

__all__ = ["KnownDomain", "MissedMessage"]

MAX_RECENT = 1024  # messages: minutes of a busy CA; who was away for longer gets a snapshot
MAX_RECENT_OCTETS = 32 * 1024 * 1024


class MissedMessage(PreconditionError):
    """A message of the domain feed does not follow on what is known."""


@dataclass(frozen=True, slots=True)
class _Recent:
    previous: int
    octets: bytes


class KnownDomain:
    """Bundle, revocations and recent messages of the domain feed."""

    def __init__(self, bundle: X509Bundle, log_id: bytes) -> None:
        self.bundle = bundle
        self.log_id = log_id
        self.revision = 0
        self.revocations = RevocationSet()
        self.dead_authorities: frozenset[bytes] = frozenset()
        """DER of issuing authorities that are tainted or revoked."""
        self.authorities: tuple[feed_pb2.AuthorityState, ...] = ()
        """All of them with their CRLs, as the signer said last; another object whenever it says so again."""
        self.heartbeat: bytes = b""
        """The newest one as it goes to the agents; empty before the first."""
        self.log_chain: tuple[bytes, ...] = ()
        """The certificate that the newest message is signed under, and its issuer; DER."""
        self._recent: deque[_Recent] = deque()
        self._recent_octets = 0

    @property
    def trust_domain(self) -> TrustDomain:
        return self.bundle.trust_domain

    def restore(self, messages: Sequence[feed_pb2.FeedMessage]) -> None:
        """Take a snapshot, all of its messages. Changes nothing where they are not one."""
        reader = SnapshotReader()
        whole: DomainUpdate | None = None
        bodies = [_parse(message) for message in messages]
        for body in bodies:
            content = read_content(body, self.trust_domain, is_node_feed=False)
            if whole is not None or not isinstance(content, SnapshotPart):
                raise InternalError("snapshot of the domain feed is none")
            whole = reader.take(content)
        if whole is None or whole.log is None:
            raise InternalError("snapshot of the domain feed is not whole")
        self.revocations.apply_log(whole.log)
        self._take_authorities(bodies[0].domain)
        self.log_id, self.revision = bodies[0].log_id, bodies[0].revision
        self._forget_recent(messages[0])

    def apply(self, message: feed_pb2.FeedMessage, octets: bytes) -> list[Revocation]:
        """Take the next message, serialized as `octets`; returns the revocations that are new.

        An old message changes nothing. Raises `MissedMessage`, and changes nothing, when one is missing.
        """
        body = _parse(message)
        if body.log_id != self.log_id:
            raise MissedMessage(f"message is of log {body.log_id.hex()}, known is {self.log_id.hex()}")
        if tuple(message.log_chain) != self.log_chain:
            self._forget_recent(message)
        if body.WhichOneof("content") == "heartbeat":
            if body.revision > self.revision:
                raise MissedMessage(f"heartbeat is of revision {body.revision}, known is {self.revision}")
            self.heartbeat = octets
            return []
        if body.revision <= self.revision:
            return []
        if body.previous != self.revision or body.domain.snapshot:
            raise MissedMessage(f"message follows on revision {body.previous}, known is {self.revision}")
        update = body.domain
        self._take_authorities(update)
        added = self.revocations.apply_delta(
            body.log_id,
            update.revocation_seq,
            [revocation_from_wire(revocation) for revocation in update.revocations],
            update.dropped,
        )
        self.revision = body.revision
        self._recent.append(_Recent(body.previous, octets))
        self._recent_octets += len(octets)
        while len(self._recent) > MAX_RECENT or self._recent_octets > MAX_RECENT_OCTETS:
            self._recent_octets -= len(self._recent.popleft().octets)
        return added

    def since(self, log_id: bytes, revision: int) -> list[bytes] | None:
        """The messages after that revision; None: they are not all here, it takes a snapshot."""
        if log_id != self.log_id or not 0 < revision <= self.revision:
            return None
        if revision == self.revision:
            return []
        for n, recent in enumerate(self._recent):
            if recent.previous == revision:
                return [later.octets for later in list(self._recent)[n:]]
        return None

    def _forget_recent(self, message: feed_pb2.FeedMessage) -> None:
        self.log_chain = tuple(message.log_chain)
        self._recent.clear()
        self._recent_octets = 0

    def _take_authorities(self, update: feed_pb2.DomainUpdate) -> None:
        if update.roots and list(update.roots) != self.bundle.ders():
            self.bundle = X509Bundle.parse(self.trust_domain, list(update.roots))
        if update.authorities:
            self.authorities = tuple(update.authorities)
            dead = (feed_pb2.AuthorityState.TAINTED, feed_pb2.AuthorityState.REVOKED)
            self.dead_authorities = frozenset(a.certificate for a in update.authorities if a.state in dead)


def _parse(message: feed_pb2.FeedMessage) -> feed_pb2.FeedBody:
    try:
        return feed_pb2.FeedBody.FromString(message.body)
    except DecodeError as e:
        raise InternalError("message of the domain feed cannot be read") from e
