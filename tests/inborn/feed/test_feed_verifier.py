"""Which messages of the CA's feeds are believed. Every refusal leaves the subscriber where it was."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.feed.feed_content import DomainUpdate, NodeUpdate
from inborn._internal.feed.feed_reading import InvalidFeed
from inborn._internal.feed.feed_verifier import FeedGap, FeedRollback, FeedUpdate, FeedVerifier, WrongFeed, is_log_id
from inborn._internal.revocation.revocation_set import CertificateRevoked, Revocation, RevocationKind, RevocationSet
from inborn._internal.selectors.demand import parse_demand
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id, parse_trust_domain
from inborn._internal.spiffe.x509_svid import InvalidSvid
from inborn._internal.verification.verify import CertificateExpired, NotAuthorized, UntrustedCertificate
from inborn._internal.wire.messages import InvalidMessage
from inborn._internal.wire.signed_request import BadSignature
from inborn.errors import InbornError
from inborn.testing import MemoryAuthority
from inborn_proto import feed_pb2
from tests.rigs.fixtures_spoken_ca import FeedMaker

NODE = parse_spiffe_id("spiffe://example.org/inborn/agent/1")


class Subscriber:
    """A verifier with what it needs; `refuses` also looks that nothing changed."""

    def __init__(self, authority: MemoryAuthority) -> None:
        self.authority = authority
        self.verifier = FeedVerifier(trust_domain=authority.trust_domain, node=NODE)
        self.revocations = RevocationSet()
        self.now = dt.datetime.now(dt.UTC)

    def receive(self, message: feed_pb2.FeedMessage) -> FeedUpdate:
        return self.verifier.receive(message, bundle=self.authority.bundle, revocations=self.revocations, now=self.now)

    @property
    def position(self) -> tuple[bytes, int, int]:
        return (self.verifier.log_id, self.verifier.domain_revision, self.verifier.node_revision)

    def refuses(self, message: feed_pb2.FeedMessage, error: type[InbornError]) -> None:
        before = self.position
        with pytest.raises(error):
            self.receive(message)
        assert self.position == before


@pytest.fixture
def maker(authority: MemoryAuthority) -> FeedMaker:
    return FeedMaker(authority)


@pytest.fixture
def subscriber(authority: MemoryAuthority) -> Subscriber:
    return Subscriber(authority)


def rule(seq: int) -> Revocation:
    return Revocation(seq=seq, kind=RevocationKind.SERIAL, value=b"\x01", cut_offs={b"a": None})


def test_snapshot_updates_and_heartbeats_are_believed_in_order(subscriber: Subscriber, maker: FeedMaker) -> None:
    first = subscriber.receive(maker.snapshot((rule(1),)))
    assert isinstance(first.content, DomainUpdate)
    assert first.content.bundle == subscriber.authority.bundle
    assert list(first.content.log or ()) == [rule(1)]
    second = subscriber.receive(maker.update(rule(2)))
    assert (second.is_new, second.is_fresh) == (True, True)
    beat = subscriber.receive(maker.heartbeat())
    assert (beat.is_new, beat.is_fresh) == (False, True)
    assert subscriber.position == (maker.log_id, 2, 0)


def test_node_feed_has_a_revision_of_its_own(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    entry = feed_pb2.Entry(
        id="e1",
        spiffe_id="spiffe://example.org/web",
        selectors=["unix:uid:1"],
        ttl_seconds=60,
        revision=3,
        demands=["posture:seccomp:filter|posture:seccomp:strict"],
        revoke_when_lost=True,
    )
    content = feed_pb2.NodeUpdate(snapshot=True, entries=[entry])
    update = subscriber.receive(maker.message(maker.body(node=str(NODE), node_update=content, revision=7)))
    assert isinstance(update.content, NodeUpdate)
    assert update.content.entries[0].ttl == dt.timedelta(seconds=60)
    assert update.content.entries[0].demands == (parse_demand("seccomp"),)
    assert update.content.entries[0].revoke_when_lost
    assert subscriber.position == (maker.log_id, 1, 7)


def test_missing_message_is_a_gap(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.refuses(maker.update(), FeedGap)  # nothing is known yet
    subscriber.receive(maker.snapshot())
    maker.update()  # is lost
    subscriber.refuses(maker.update(), FeedGap)
    subscriber.refuses(maker.heartbeat(), FeedGap)


def test_older_snapshot_is_a_rollback_and_an_older_update_is_old_news(subscriber: Subscriber, maker: FeedMaker) -> None:
    old_snapshot, old_update = maker.snapshot(), maker.update()
    subscriber.receive(maker.snapshot())
    subscriber.refuses(old_snapshot, FeedRollback)
    assert not subscriber.receive(old_update).is_new
    assert subscriber.position == (maker.log_id, 3, 0)


def test_heartbeat_shown_twice_is_not_fresh(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    beat = maker.heartbeat()
    assert subscriber.receive(beat).is_fresh
    assert not subscriber.receive(beat).is_fresh
    assert subscriber.receive(maker.heartbeat()).is_fresh


def test_another_log_begins_with_its_domain_snapshot(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    subscriber.receive(maker.update())
    restored = FeedMaker(subscriber.authority)
    restored.log_id = bytes(16)
    subscriber.refuses(restored.update(), FeedGap)
    node = restored.body(node=str(NODE), node_update=feed_pb2.NodeUpdate(snapshot=True))
    subscriber.refuses(restored.message(node), FeedGap)
    subscriber.receive(restored.snapshot())
    assert subscriber.position == (bytes(16), 2, 0)


# -- attacks: whoever carries the messages -----------------------------------------------------------------------------


def test_altered_body_is_refused(subscriber: Subscriber, maker: FeedMaker) -> None:
    message = maker.snapshot()
    body = feed_pb2.FeedBody.FromString(message.body)
    body.domain.roots.append(MemoryAuthority("example.org").bundle.ders()[0])
    message.body = body.SerializeToString()
    subscriber.refuses(message, BadSignature)


def test_workload_cannot_sign_a_feed(subscriber: Subscriber, authority: MemoryAuthority) -> None:
    svid = authority.svid("spiffe://example.org/web", key=ed25519.Ed25519PrivateKey.generate())
    subscriber.refuses(FeedMaker(authority, log_svid=svid).snapshot(), NotAuthorized)


def test_front_cannot_sign_a_feed(subscriber: Subscriber, authority: MemoryAuthority) -> None:
    svid = authority.svid("spiffe://example.org/inborn/ca/1", key=ed25519.Ed25519PrivateKey.generate())
    subscriber.refuses(FeedMaker(authority, log_svid=svid).snapshot(), NotAuthorized)


def test_stranger_cannot_sign_a_feed(subscriber: Subscriber) -> None:
    subscriber.refuses(FeedMaker(MemoryAuthority("example.org")).snapshot(), UntrustedCertificate)


def test_another_trust_domain_cannot_sign_a_feed(subscriber: Subscriber) -> None:
    other = MemoryAuthority("other.org")
    svid = other.svid("spiffe://other.org/inborn/ca/1/log", key=ed25519.Ed25519PrivateKey.generate())
    subscriber.refuses(FeedMaker(other, log_svid=svid).snapshot(), UntrustedCertificate)


def test_revoked_log_key_cannot_sign_a_feed(
    subscriber: Subscriber, maker: FeedMaker, authority: MemoryAuthority
) -> None:
    subscriber.receive(maker.snapshot())  # now it is remembered, and must be looked at all the same
    authority.revoke(maker.svid)
    subscriber.revocations = authority.revocations
    subscriber.refuses(maker.update(), CertificateRevoked)


def test_expired_log_key_cannot_sign_a_feed(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    subscriber.now += dt.timedelta(hours=2)
    subscriber.refuses(maker.update(), CertificateExpired)


def test_feed_of_another_node_is_refused(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    other = maker.body(node=f"{NODE}0", node_update=feed_pb2.NodeUpdate(snapshot=True))
    subscriber.refuses(maker.message(other), WrongFeed)


def test_feed_of_another_trust_domain_is_refused(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.refuses(maker.snapshot(trust_domain="other.org"), WrongFeed)


def test_daemon_takes_no_node_feed(authority: MemoryAuthority, maker: FeedMaker) -> None:
    subscriber = Subscriber(authority)
    subscriber.verifier = FeedVerifier(trust_domain=parse_trust_domain("example.org"))
    subscriber.receive(maker.snapshot())
    body = maker.body(node=str(NODE), node_update=feed_pb2.NodeUpdate(snapshot=True))
    subscriber.refuses(maker.message(body), WrongFeed)


# -- bad input ---------------------------------------------------------------------------------------------------------


def _unreadable(maker: FeedMaker) -> feed_pb2.FeedMessage:
    key = maker.svid.private_key
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    message = maker.snapshot()
    message.body = b"\xff"
    message.signature = key.sign(b"inborn feed v1\0\xff")
    return message


def _without_chain(maker: FeedMaker) -> feed_pb2.FeedMessage:
    message = maker.snapshot()
    del message.log_chain[:]
    return message


def _domain(maker: FeedMaker, **fields: object) -> feed_pb2.FeedMessage:
    given: dict[str, object] = {"snapshot": True, "roots": maker.authority.bundle.ders(), "revocation_seq": 9}
    return maker.message(maker.body(revision=1, domain=feed_pb2.DomainUpdate(**{**given, **fields})))  # type: ignore[arg-type]


def _rule_wire(**fields: object) -> feed_pb2.Revocation:
    given: dict[str, object] = {"seq": 1, "kind": "SERIAL", "value": b"\x01"}
    return feed_pb2.Revocation(**{**given, **fields})  # type: ignore[arg-type]


BAD: dict[str, tuple[Callable[[FeedMaker], feed_pb2.FeedMessage], type[InbornError]]] = {
    "body that is no message": (_unreadable, InvalidFeed),
    "no chain": (_without_chain, InvalidSvid),
    "no content": (lambda m: m.message(m.body(revision=1)), InvalidFeed),
    "node content in the domain feed": (
        lambda m: m.message(m.body(revision=1, node_update=feed_pb2.NodeUpdate(snapshot=True))),
        InvalidFeed,
    ),
    "short log_id": (lambda m: m.snapshot(log_id=b"short"), InvalidFeed),
    "time out of range": (lambda m: m.snapshot(made_at_ms=2**62), InvalidMessage),
    "snapshot without roots": (lambda m: _domain(m, roots=[]), InvalidFeed),
    "root that is no certificate": (lambda m: _domain(m, roots=[b"x"]), InvalidSvid),
    "root that is a leaf": (lambda m: _domain(m, roots=[_der(m)]), InvalidSvid),
    "authority without a state": (lambda m: _domain(m, authorities=[_authority(m, 0)]), InvalidFeed),
    "authority of an unknown state": (lambda m: _domain(m, authorities=[_authority(m, 99)]), InvalidFeed),
    "too many authorities": (lambda m: _domain(m, authorities=[_authority(m, 2)] * 257), InvalidFeed),
    "rule of an unknown kind": (lambda m: _domain(m, revocations=[_rule_wire(kind=99)]), InvalidMessage),
    "rule without seq": (lambda m: _domain(m, revocations=[_rule_wire(seq=0)]), InvalidMessage),
    "rule with a short key hash": (lambda m: _domain(m, revocations=[_rule_wire(kind="KEY")]), InvalidMessage),
    "rule with an ID that is none": (lambda m: _domain(m, revocations=[_rule_wire(kind="SPIFFE_ID")]), InvalidMessage),
    "rule with an empty serial": (lambda m: _domain(m, revocations=[_rule_wire(value=b"")]), InvalidMessage),
    "rules out of order": (
        lambda m: _domain(m, revocations=[_rule_wire(seq=2), _rule_wire(seq=1)]),
        InvalidFeed,
    ),
    "one rule twice": (lambda m: _domain(m, revocations=[_rule_wire(), _rule_wire()]), InvalidFeed),
    "rule beyond the log": (lambda m: _domain(m, revocations=[_rule_wire(seq=10)]), InvalidFeed),
}


def _der(maker: FeedMaker) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return maker.svid.leaf.public_bytes(Encoding.DER)


def _authority(maker: FeedMaker, state: int) -> feed_pb2.AuthorityState:
    authority = feed_pb2.AuthorityState(certificate=_der(maker))
    authority.state = state  # type: ignore[assignment]
    return authority


@pytest.mark.parametrize("name", BAD)
def test_bad_message_is_refused_and_changes_nothing(subscriber: Subscriber, maker: FeedMaker, name: str) -> None:
    make, error = BAD[name]
    subscriber.refuses(make(maker), error)
    subscriber.receive(maker.snapshot())


@pytest.mark.parametrize(
    "entry",
    [
        feed_pb2.Entry(id="", spiffe_id="spiffe://example.org/a", selectors=["a:b"]),
        feed_pb2.Entry(id="1", spiffe_id="spiffe://example.org/a", selectors=[]),
        feed_pb2.Entry(id="1", spiffe_id="https://example.org/a", selectors=["a:b"]),
        feed_pb2.Entry(id="1", spiffe_id="spiffe://example.org/a", selectors=["ab"]),
        feed_pb2.Entry(id="1", spiffe_id="spiffe://example.org/a", selectors=["a:b"], ttl_seconds=-1),
        feed_pb2.Entry(id="1", spiffe_id="spiffe://example.org/a", selectors=["a:b"], demands=["a:b", "nothing"]),
        feed_pb2.Entry(id="1", spiffe_id="spiffe://example.org/a", selectors=["a:b"], demands=["a:b|"]),
    ],
)
def test_bad_entry_is_refused(subscriber: Subscriber, maker: FeedMaker, entry: feed_pb2.Entry) -> None:
    subscriber.receive(maker.snapshot())
    body = maker.body(node=str(NODE), revision=1, node_update=feed_pb2.NodeUpdate(snapshot=True, entries=[entry]))
    subscriber.refuses(maker.message(body), InbornError)


@pytest.mark.parametrize(
    ("path", "is_log"),
    [
        ("/inborn/ca/1/log", True),
        ("/inborn/ca/1", False),
        ("/inborn/ca/log", False),
        ("/inborn/ca/1/log/x", False),
        ("/inborn/agent/1/log", False),
        ("/x/inborn/ca/log", False),
    ],
)
def test_log_ids(path: str, is_log: bool) -> None:
    assert is_log_id(parse_spiffe_id(f"spiffe://example.org{path}")) is is_log
