"""Snapshots of the domain feed in several messages: whole or not at all, whatever the front does with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import suppress

import pytest

from inborn._internal.feed.feed_content import DomainUpdate, SnapshotPart
from inborn._internal.feed.feed_reading import InvalidFeed
from inborn._internal.feed.feed_verifier import FeedGap, FeedRollback, FeedUpdate, FeedVerifier
from inborn._internal.revocation.revocation_set import Revocation, RevocationGap, RevocationKind, RevocationSet
from inborn.errors import InbornError, PreconditionError
from inborn.testing import MemoryAuthority
from inborn_ca.front.known_domain import KnownDomain
from inborn_ca.signer.feeds import Feeds
from inborn_proto import feed_pb2, signer_pb2
from tests.rigs.fixtures_ca import CaBench, revoke_many
from tests.rigs.fixtures_spoken_ca import FeedMaker

A, B = b"s" * 16, b"t" * 16


@pytest.fixture
def maker(authority: MemoryAuthority) -> FeedMaker:
    return FeedMaker(authority)


class Subscriber:
    def __init__(self, authority: MemoryAuthority) -> None:
        self.authority = authority
        self.verifier = FeedVerifier(trust_domain=authority.trust_domain)

    def receive(self, message: feed_pb2.FeedMessage) -> FeedUpdate:
        now = dt.datetime.now(dt.UTC)
        return self.verifier.receive(message, bundle=self.authority.bundle, revocations=RevocationSet(), now=now)


@pytest.fixture
def subscriber(authority: MemoryAuthority) -> Subscriber:
    return Subscriber(authority)


def rules(first: int, last: int) -> tuple[Revocation, ...]:
    return tuple(
        Revocation(seq=n, kind=RevocationKind.SERIAL, value=b"\x01" + n.to_bytes(4, "big"), cut_offs={b"a" * 20: None})
        for n in range(first, last + 1)
    )


def test_parts_are_one_snapshot_when_the_last_one_is_there(subscriber: Subscriber, maker: FeedMaker) -> None:
    *before, last = maker.parts(rules(1, 3), rules(4, 4), rules(5, 9))
    for message in before:
        update = subscriber.receive(message)
        assert isinstance(update.content, SnapshotPart)
        assert (update.is_new, update.is_fresh) == (False, True)
        assert subscriber.verifier.domain_revision == 0
    update = subscriber.receive(last)
    assert update.is_new
    assert isinstance(update.content, DomainUpdate)
    assert update.content.bundle == subscriber.authority.bundle
    assert list(update.content.log or ()) == list(rules(1, 9))
    assert subscriber.verifier.domain_revision == maker.revision
    assert subscriber.receive(maker.update(*rules(10, 10))).is_new


@pytest.mark.parametrize(
    "order",
    [
        pytest.param([1], id="the first is kept back"),
        pytest.param([0, 2], id="one in the middle is kept back"),
        pytest.param([0, 0, 2], id="the first comes twice, and one is kept back"),
        pytest.param([0, 1, 1], id="one comes twice"),
        pytest.param([2, 1, 0, 2], id="the order is another"),
    ],
)
def test_front_that_leaves_out_repeats_or_reorders_parts_is_noticed(
    subscriber: Subscriber, maker: FeedMaker, order: list[int]
) -> None:
    parts = maker.parts(rules(1, 3), rules(4, 6), rules(7, 9))
    for number in order[:-1]:
        with suppress(FeedGap):
            assert not subscriber.receive(parts[number]).is_new
    with pytest.raises(FeedGap):
        subscriber.receive(parts[order[-1]])
    assert subscriber.verifier.domain_revision == 0
    assert [subscriber.receive(part).is_new for part in parts] == [False, False, True]  # nothing is left behind


def test_front_that_mixes_two_snapshots_of_one_revision_to_lose_a_rule_is_noticed(
    subscriber: Subscriber, maker: FeedMaker
) -> None:
    one = maker.parts(rules(1, 3), rules(4, 6), snapshot_id=A)
    maker.revision -= 1
    other = maker.parts(rules(1, 2), rules(3, 3), snapshot_id=B)
    third = maker.parts(rules(1, 2), rules(3, 6), snapshot_id=b"")
    subscriber.receive(one[0])
    with pytest.raises(FeedGap):
        subscriber.receive(other[1])
    subscriber.receive(third[0])
    with pytest.raises(FeedGap):  # without an ID nothing belongs together
        subscriber.receive(third[1])
    assert subscriber.verifier.domain_revision == 0


def test_front_that_keeps_the_end_of_a_snapshot_back_changes_nothing(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot(rules(1, 2)))
    known = maker.revision
    first, _ = maker.parts(rules(1, 3), rules(4, 4))
    assert not subscriber.receive(first).is_new
    assert subscriber.verifier.domain_revision == known


def test_part_of_an_older_snapshot_is_a_rollback(subscriber: Subscriber, maker: FeedMaker) -> None:
    old = maker.parts(rules(1, 1), rules(2, 2))
    subscriber.receive(maker.snapshot(rules(1, 3)))
    for part in old:
        with pytest.raises(FeedRollback):
            subscriber.receive(part)


@pytest.mark.parametrize(
    ("number", "change", "error"),
    [
        (1, lambda d: d.roots.append(b"x"), InvalidFeed),
        (1, lambda d: d.authorities.add(), InvalidFeed),
        (0, lambda d: d.ClearField("roots"), InvalidFeed),
        (0, lambda d: setattr(d, "snapshot_id", b"short"), InvalidFeed),
        (1, lambda d: setattr(d, "revocation_seq", 99), FeedGap),
        (1, lambda d: d.revocations.extend(list(d.revocations)), InvalidFeed),
        (1, lambda d: setattr(d.revocations[0], "seq", 1), RevocationGap),
        (1, lambda d: setattr(d.serials, "records", b"x"), InbornError),
    ],
)
def test_bad_part_is_refused_and_what_was_begun_is_given_up(
    subscriber: Subscriber,
    maker: FeedMaker,
    number: int,
    change: Callable[[feed_pb2.DomainUpdate], object],
    error: type[InbornError],
) -> None:
    parts = maker.parts(rules(1, 2), rules(3, 3))
    body = feed_pb2.FeedBody.FromString(parts[number].body)
    change(body.domain)
    for part in parts[:number]:
        subscriber.receive(part)
    with pytest.raises(error):
        subscriber.receive(maker.message(body))
    assert subscriber.verifier.domain_revision == 0
    assert [subscriber.receive(part).is_new for part in parts] == [False, True]


def test_update_has_no_packed_rules(subscriber: Subscriber, maker: FeedMaker) -> None:
    subscriber.receive(maker.snapshot())
    body = maker.body(revision=2, previous=1, domain=feed_pb2.DomainUpdate(serials=feed_pb2.PackedSerials(records=b"")))
    with pytest.raises(InvalidFeed, match="packed"):
        subscriber.receive(maker.message(body))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand serials a part instead of 25,000, and a hundred of other rules."""
    monkeypatch.setattr("inborn._internal.revocation.revocation_log.SERIALS_OF_A_PART", 1_000)
    monkeypatch.setattr("inborn._internal.revocation.revocation_log.REVOCATIONS_OF_A_PART", 100)


# -- the signer's ------------------------------------------------------------------------------------------------------


def test_many_rules_take_several_messages_and_arrive_as_they_are(ca_bench: CaBench) -> None:
    ca = ca_bench
    revoke_many(ca, RevocationKind.SERIAL, 2_400)
    revoke_many(ca, RevocationKind.KEY, 240)
    messages = ca.feeds.domain_snapshot()
    assert len(messages) == 5  # three of serials, the last of them with keys, and two more of keys
    assert max(message.ByteSize() for message in messages) < 64 * 1024
    verifier = FeedVerifier(trust_domain=ca.state.trust_domain)
    updates = [
        verifier.receive(message, bundle=ca.state.bundle, revocations=RevocationSet(), now=ca.clock())
        for message in messages
    ]
    content = updates[-1].content
    assert isinstance(content, DomainUpdate)
    assert content.log is not None
    assert list(content.log) == list(ca.state.revocations)
    domain = KnownDomain(ca.state.bundle, ca.state.log_id)
    domain.restore(messages)
    assert list(domain.revocations) == list(ca.state.revocations)
    assert domain.revision == ca.state.domain_revision


def test_few_rules_of_both_kinds_are_one_message(ca_bench: CaBench) -> None:
    revoke_many(ca_bench, RevocationKind.SERIAL, 5)
    revoke_many(ca_bench, RevocationKind.KEY, 5)
    (message,) = ca_bench.feeds.domain_snapshot()
    assert not feed_pb2.FeedBody.FromString(message.body).domain.more


def fetched(feeds: Feeds, meanwhile: Callable[[], object] = lambda: None) -> list[feed_pb2.FeedMessage]:
    request, messages = signer_pb2.DomainSnapshotRequest(), list[feed_pb2.FeedMessage]()
    while True:
        messages.append(feeds.snapshot_part(request))
        update = feed_pb2.FeedBody.FromString(messages[-1].body).domain
        if not update.more:
            return messages
        request = signer_pb2.DomainSnapshotRequest(snapshot_id=update.snapshot_id, part=update.part + 1)
        meanwhile()


def test_snapshot_that_is_being_fetched_is_kept_while_the_domain_changes_once(ca_bench: CaBench) -> None:
    revoke_many(ca_bench, RevocationKind.SERIAL, 2_400)

    def change() -> None:
        if len(ca_bench.state.revocations) == 2_400:
            revoke_many(ca_bench, RevocationKind.KEY, 1)
            ca_bench.feeds.domain_snapshot()

    domain = KnownDomain(ca_bench.state.bundle, ca_bench.state.log_id)
    domain.restore(fetched(ca_bench.feeds, change))
    assert len(domain.revocations) == 2_400


def test_snapshot_that_was_replaced_is_refused_with_a_word_of_what_to_do(ca_bench: CaBench) -> None:
    revoke_many(ca_bench, RevocationKind.SERIAL, 2_400)
    first = feed_pb2.FeedBody.FromString(ca_bench.feeds.domain_snapshot()[0].body).domain
    for _ in range(2):
        revoke_many(ca_bench, RevocationKind.KEY, 1)
        ca_bench.feeds.domain_snapshot()
    for request in (
        signer_pb2.DomainSnapshotRequest(snapshot_id=first.snapshot_id, part=1),
        signer_pb2.DomainSnapshotRequest(snapshot_id=b"x" * 16, part=1),
        signer_pb2.DomainSnapshotRequest(part=77),
    ):
        with pytest.raises(PreconditionError) as caught:
            ca_bench.feeds.snapshot_part(request)
        assert caught.value.hint == "begin with the first part"


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 0)])
def test_known_domain_takes_no_part_of_a_snapshot(ca_bench: CaBench, cut: slice) -> None:
    revoke_many(ca_bench, RevocationKind.SERIAL, 2_400)
    domain = KnownDomain(ca_bench.state.bundle, ca_bench.state.log_id)
    with pytest.raises(InbornError):
        domain.restore(ca_bench.feeds.domain_snapshot()[cut])
    assert (domain.revision, len(domain.revocations)) == (0, 0)
