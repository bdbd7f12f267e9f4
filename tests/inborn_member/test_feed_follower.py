"""How the feed is followed: what is acknowledged and when, where a stream is opened anew, and from where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind, RevocationSet
from inborn._internal.source.snapshot import StaticSource
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import InbornError, UnauthenticatedError
from inborn.testing import MemoryAuthority
from inborn_member.daemon_feed import DaemonFeed
from inborn_member.feed_follower import FeedFollower
from inborn_member.kept_revocations import KeptRevocations
from inborn_proto import ca_pb2, feed_pb2
from tests.rigs.fixtures_spoken_ca import DAEMON, FeedMaker

PATIENCE = 10.0
SERIALS = [bytes([n]) * 19 for n in range(1, 9)]
LONG = feed_pb2.Heartbeat(interval_ms=60_000)
SHORT = feed_pb2.Heartbeat(interval_ms=1)


class Ca:
    """What a daemon has of a CA and of its own identity: one client, and a stream on which a test speaks."""

    address = "ca"

    def __init__(self, authority: MemoryAuthority) -> None:
        self.trust_domain = authority.trust_domain
        self.source: StaticSource = authority.source(DAEMON)
        self.svid: X509Svid = self.source.snapshot().svids[0]
        self.messages: asyncio.Queue[feed_pb2.FeedMessage | InbornError] = asyncio.Queue()
        self.watched: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.acks: asyncio.Queue[ca_pb2.WatchAck] = asyncio.Queue()
        self.refusals: list[InbornError] = []
        self.rotations = 0

    async def client(self) -> Ca:
        return self

    async def watch(self, **position: Any) -> Ca:
        await self.watched.put(position)
        return self

    async def __anext__(self) -> feed_pb2.FeedMessage:
        message = await self.messages.get()
        if isinstance(message, InbornError):
            raise message
        return message

    async def ack(self, ack: ca_pb2.WatchAck) -> None:
        await self.acks.put(ack)

    def cancel(self) -> None:
        """The stream has ended."""

    def trust(self, bundle: object, log_id: bytes) -> None:
        """The identity is told of the bundle."""

    async def keep_bundle(self) -> None:
        """The identity keeps it."""

    def rotate(self) -> None:
        self.rotations += 1

    def refused(self, error: InbornError) -> None:
        self.refusals.append(error)


class Following:
    def __init__(self, authority: MemoryAuthority, directory: Path) -> None:
        self.ca: Any = Ca(authority)
        self.maker = FeedMaker(authority)
        self.authority = authority
        self.feed = DaemonFeed(self.ca, KeptRevocations(directory), RevocationSet())
        follower = FeedFollower("daemon", self.ca, self.feed, self.feed.changed, spread=lambda: 0.0)
        self.task = asyncio.create_task(follower.run())

    async def say(self, message: feed_pb2.FeedMessage) -> None:
        await self.ca.messages.put(message)

    async def next(self, queue: asyncio.Queue[Any]) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await queue.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    async def begin(self, count: int = 0) -> None:
        """A first snapshot with so many revocations, acknowledged."""
        await self.next(self.ca.watched)
        await self.say(self.maker.snapshot(tuple(self.rule(seq) for seq in range(1, count + 1))))
        ack = await self.next(self.ca.acks)
        assert (ack.domain_revision, ack.revocation_seq, ack.log_id) == (1, count, self.maker.log_id)

    def rule(self, seq: int) -> Revocation:
        issuer = self.ca.svid.facts.authority
        return Revocation(seq=seq, kind=RevocationKind.SERIAL, value=SERIALS[seq], cut_offs={issuer: SERIALS[seq]})


@pytest.fixture
async def following(authority: MemoryAuthority, tmp_path: Path) -> AsyncIterator[Following]:
    made = Following(authority, tmp_path)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_changes_are_acknowledged_at_once_and_signs_of_life_now_and_then(following: Following) -> None:
    await following.begin()
    for _ in range(3):
        await following.say(following.maker.heartbeat(heartbeat=LONG))
    await following.until(following.ca.messages.empty)
    await following.say(following.maker.update(following.rule(1)))
    assert (await following.next(following.ca.acks)).revocation_seq == 1  # and none of the heartbeats
    await following.say(following.maker.heartbeat(heartbeat=SHORT))
    await following.say(following.maker.update(following.rule(2)))
    assert (await following.next(following.ca.acks)).revocation_seq == 2
    await following.say(following.maker.heartbeat(heartbeat=SHORT))
    assert (await following.next(following.ca.acks)).revocation_seq == 2  # the same again: we are alive


async def test_what_is_acknowledged_has_been_kept(following: Following, tmp_path: Path) -> None:
    await following.begin(2)
    assert [rule.seq for rule in KeptRevocations(tmp_path).load()] == [1, 2]


async def test_what_cannot_be_kept_holds_nevertheless(following: Following, tmp_path: Path) -> None:
    (tmp_path / ".revocations.new").mkdir()
    await following.begin(2)
    assert [rule.seq for rule in following.feed.revocations] == [1, 2]
    assert KeptRevocations(tmp_path).load().seq == 0


async def test_outdated_certificates_are_counted_until_the_connection_is_left(following: Following) -> None:
    await following.begin()
    await following.say(following.maker.authorities(feed_pb2.AuthorityState.RETIRED))
    assert (await following.next(following.ca.acks)).outdated == 0
    assert following.ca.rotations == 0
    await following.say(following.maker.authorities(feed_pb2.AuthorityState.TAINTED))
    assert (await following.next(following.ca.acks)).outdated == 2
    assert following.ca.rotations == 1
    following.ca.svid = MemoryAuthority("example.org").svid(DAEMON)  # renewed
    assert (await following.next(following.ca.acks)).outdated == 1
    assert following.ca.watched.empty()
    await following.say(following.maker.heartbeat(heartbeat=LONG))
    assert (await following.next(following.ca.watched))["domain_revision"] == 3
    assert (await following.next(following.ca.acks)).outdated == 0


async def test_revocations_that_are_missing_are_asked_for_from_what_was_applied(following: Following) -> None:
    await following.begin(1)
    await following.say(following.maker.update(following.rule(3)))
    assert (await following.next(following.ca.watched))["domain_revision"] == 1
    assert [rule.seq for rule in following.feed.revocations] == [1]


async def test_where_gaps_go_on_it_is_asked_for_from_nothing(following: Following) -> None:
    await following.begin(1)
    for log_id in (following.maker.log_id, b""):
        following.maker.update(following.rule(2))  # never arrives
        await following.say(following.maker.update(following.rule(3)))
        assert (await following.next(following.ca.watched))["log_id"] == log_id
    await following.say(following.maker.snapshot(tuple(following.rule(seq) for seq in range(1, 4))))
    await following.until(lambda: [rule.seq for rule in following.feed.revocations] == [1, 2, 3])


async def test_a_heartbeat_that_knows_more_revocations_is_a_gap(following: Following) -> None:
    await following.begin(1)
    await following.say(following.maker.heartbeat(heartbeat=feed_pb2.Heartbeat(revocation_seq=2, interval_ms=1000)))
    assert (await following.next(following.ca.watched))["domain_revision"] == 1
    assert following.ca.source.snapshot().heard_at is not None  # of the snapshot


async def test_what_the_signer_did_not_sign_ends_the_stream_and_changes_nothing(following: Following) -> None:
    """Attack: the front makes up a message."""
    await following.begin(1)
    stranger = FeedMaker(following.authority, log_svid=FeedMaker(MemoryAuthority("example.org")).svid)
    await following.say(stranger.snapshot((following.rule(1), following.rule(2))))
    assert (await following.next(following.ca.watched))["domain_revision"] == 1
    assert [rule.seq for rule in following.feed.revocations] == [1]
    assert following.ca.refusals == []  # which would have it renew with each message
    await following.ca.messages.put(UnauthenticatedError("certificate is not that of a member"))
    await following.next(following.ca.watched)
    assert len(following.ca.refusals) == 1


async def test_a_stream_that_is_silent_is_opened_anew(following: Following) -> None:
    await following.begin()
    await following.say(following.maker.heartbeat(heartbeat=SHORT))
    assert (await following.next(following.ca.watched))["domain_revision"] == 1


async def test_another_log_is_applied_and_what_it_forgot_holds(following: Following) -> None:
    await following.begin(2)
    following.maker.log_id = b"r" * 16
    await following.say(following.maker.snapshot((following.rule(1),)))
    await following.until(lambda: following.feed.revocations.log_id == b"r" * 16)
    assert [rule.seq for rule in following.feed.revocations] == [2, 1]
    ack = await following.next(following.ca.acks)
    assert (ack.log_id, ack.revocation_seq) == (b"r" * 16, 1)
