"""The CA's feeds as they arrive: which messages are believed, and in which order (no input or output).

Theory of operation. There are two feeds, the domain's (the same for everybody) and one for each node. Every message is
signed by a key whose certificate leads to the bundle, has the ID `/inborn/ca/<id>/log` and is not revoked; nothing else
in the message is looked at before that is known. Each message carries its feed's revision and the one before it:

    content                    log_id           revision              outcome
    snapshot                   known or other   not below the known   applied; another log_id starts both feeds anew
    part of a snapshot         known or other   not below the known   kept until the last one is there
    update                     known            previous == known     applied
    update, heartbeat          known            at or below the known old news: applied already, says nothing of now
    heartbeat                  known            == known              fresh if made later than all before it
    anything else                                                     `FeedGap` or `FeedRollback`, and nothing changes

A front or a relay that carries the messages can only be silent; and it cannot pretend that a silent CA is alive,
because a heartbeat shown twice is not fresh.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from inborn._internal.feed.feed_content import DomainUpdate, Heartbeat, NodeUpdate, SnapshotPart
from inborn._internal.feed.feed_reading import InvalidFeed, read_content
from inborn._internal.feed.snapshot_reader import FeedGap, SnapshotReader
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts, parse_chain
from inborn._internal.verification.verify import verify_chain, verify_current
from inborn._internal.wire.messages import MAX_MESSAGE_SIZE, datetime_from_ms
from inborn._internal.wire.signed_request import FEED_CONTEXT, verify_octets
from inborn.errors import PreconditionError, UnauthenticatedError
from inborn_proto import feed_pb2

__all__ = [
    "LOG_ID_SIZE",
    "FeedGap",
    "FeedRollback",
    "FeedUpdate",
    "FeedVerifier",
    "WrongFeed",
    "is_log_id",
]

LOG_ID_SIZE = 16  # bytes


class WrongFeed(UnauthenticatedError):
    """A message is not for us: another trust domain, another node, or a signer that may not sign feeds."""


class FeedRollback(PreconditionError):
    """A message shows an older state than the one that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedUpdate:
    """A message that is believed. `node` is None for the domain feed."""

    node: SpiffeId | None
    log_id: bytes
    revision: int
    made_at: dt.datetime
    content: DomainUpdate | SnapshotPart | NodeUpdate | Heartbeat
    is_new: bool
    """False: its content is known already, or not complete."""
    is_fresh: bool
    """True: made later than every message before it, so the CA has been heard now."""


@dataclass(slots=True, kw_only=True)
class FeedVerifier:
    """One subscriber's place in the feeds. `receive` believes a message and moves on, or raises and changes nothing.

    `log_id`, `domain_revision` and `node_revision` are what the subscriber has kept from before (nothing: empty and 0);
    whoever keeps them writes them only after what they stand for.
    """

    trust_domain: TrustDomain
    node: SpiffeId | None = None
    log_id: bytes = b""
    domain_revision: int = 0
    node_revision: int = 0
    _latest: dt.datetime | None = None
    _snapshots: SnapshotReader = field(default_factory=SnapshotReader, repr=False)
    _signer: tuple[tuple[bytes, ...], X509Bundle, CertificateFacts, object] | None = field(default=None, repr=False)

    def receive(
        self, message: feed_pb2.FeedMessage, *, bundle: X509Bundle, revocations: RevocationSet, now: dt.datetime
    ) -> FeedUpdate:
        """Verify a message against the bundle and the revocations known before it, and give its content.

        Raises what `verify_chain` raises, `BadSignature`, `WrongFeed`, `InvalidFeed`, `FeedGap`, `FeedRollback`. Not
        checked: that the content is wise. A revocation rule of an unknown kind refuses the whole message.
        """
        if len(message.body) > MAX_MESSAGE_SIZE:
            raise InvalidFeed(f"feed message is larger than {MAX_MESSAGE_SIZE} bytes: {len(message.body)}")
        signer, key = self._check_signer(tuple(message.log_chain), bundle, revocations, now)
        verify_octets(key, FEED_CONTEXT, message.body, message.signature)
        body = _parse(message.body)
        node = self._check_addressee(body)
        update = self._place(body, node)
        self._signer = (tuple(message.log_chain), bundle, signer, key)
        self._move(update)
        return update

    def _check_signer(
        self, chain: tuple[bytes, ...], bundle: X509Bundle, revocations: RevocationSet, now: dt.datetime
    ) -> tuple[CertificateFacts, object]:
        known = self._signer
        if known is not None and known[0] == chain and known[1] == bundle:
            verify_current(known[2], revocations=revocations, now=now)
            return known[2], known[3]
        certificates = parse_chain(chain)
        facts = verify_chain(
            certificates,
            bundles={self.trust_domain: bundle},
            revocations=revocations,
            authorize=is_log_id,
            now=now,
        )
        return facts, certificates[0].public_key()

    def _check_addressee(self, body: feed_pb2.FeedBody) -> SpiffeId | None:
        if body.trust_domain != self.trust_domain.name:
            raise WrongFeed(f"feed is of trust domain {body.trust_domain!a}, not {self.trust_domain}")
        if not body.node:
            return None
        if self.node is None or body.node != str(self.node):
            raise WrongFeed(f"feed is for {body.node!a}, not {self.node or 'a daemon'}")
        return self.node

    def _place(self, body: feed_pb2.FeedBody, node: SpiffeId | None) -> FeedUpdate:
        """Where the message stands in its feed. Raises `FeedGap`, `FeedRollback`, `InvalidFeed`."""
        if len(body.log_id) != LOG_ID_SIZE:
            raise InvalidFeed(f"log_id has {len(body.log_id)} bytes, not {LOG_ID_SIZE}")
        content = read_content(body, self.trust_domain, is_node_feed=node is not None)
        known = self.domain_revision if node is None else self.node_revision
        made_at = datetime_from_ms(body.made_at_ms)
        same_log = body.log_id == self.log_id
        is_later = not same_log or self._latest is None or made_at > self._latest
        if isinstance(content, SnapshotPart) or (isinstance(content, NodeUpdate) and content.snapshot):
            if not same_log and node is not None:
                raise FeedGap(f"node feed of log {body.log_id.hex()} came before its domain feed")
            if same_log and body.revision < known:
                raise FeedRollback(f"snapshot shows revision {body.revision}, known is {known}")
            if isinstance(content, SnapshotPart):
                content = self._snapshots.take(content) or content
            is_new, is_fresh = not isinstance(content, SnapshotPart), is_later
        elif not same_log:
            raise FeedGap(f"feed of log {body.log_id.hex()} does not follow on log {self.log_id.hex() or '(none)'}")
        elif isinstance(content, Heartbeat):
            if body.revision > known:
                raise FeedGap(f"heartbeat is of revision {body.revision}, known is {known}")
            is_new, is_fresh = False, is_later and body.revision == known
        elif body.revision <= known:
            is_new, is_fresh = False, False
        elif body.previous != known:
            raise FeedGap(f"update follows on revision {body.previous}, known is {known}")
        else:
            is_new, is_fresh = True, is_later
        return FeedUpdate(
            node=node,
            log_id=body.log_id,
            revision=body.revision,
            made_at=made_at,
            content=content,
            is_new=is_new,
            is_fresh=is_fresh,
        )

    def _move(self, update: FeedUpdate) -> None:
        if update.is_fresh:
            self._latest = update.made_at
        if not update.is_new:
            return
        if update.log_id != self.log_id:
            self.log_id, self.domain_revision, self.node_revision = update.log_id, 0, 0
        if update.node is None:
            self.domain_revision = update.revision
        else:
            self.node_revision = update.revision


def is_log_id(spiffe_id: SpiffeId) -> bool:
    """Whether the ID is that of a key that signs feeds: `/inborn/ca/<id>/log`."""
    parts = spiffe_id.path.split("/")
    return len(parts) == 5 and parts[1:3] == ["inborn", "ca"] and parts[4] == "log"


def _parse(octets: bytes) -> feed_pb2.FeedBody:
    try:
        return feed_pb2.FeedBody.FromString(octets)
    except DecodeError as e:
        raise InvalidFeed("feed message's body cannot be read") from e
