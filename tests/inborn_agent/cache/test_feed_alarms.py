"""What an agent is shown that no honest CA shows is not believed, and stands in its status for somebody to see."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.source.snapshot import StaticSource
from inborn.testing import MemoryAuthority
from inborn_agent.ca.sync import Saver, Sync
from inborn_agent.cache.attendance import Attendance
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.feed_alarms import FeedAlarms
from inborn_agent.disk.kept_state import KeptState
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.live.live_cache import LiveCache
from inborn_proto import feed_pb2
from tests.rigs.fixtures_spoken_ca import FeedMaker

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
SERIALS = [bytes([n]) * 19 for n in range(1, 9)]
PATIENCE = 10.0


def test_alarms_of_a_kind_are_one_with_their_number() -> None:
    alarms = FeedAlarms()
    alarms.sound("FeedGap", "update follows on revision 7, known is 5", NOW)
    alarms.sound("FeedRollback", "snapshot shows revision 3, known is 5", NOW + MINUTE)
    alarms.sound("FeedGap", "update follows on revision 9, known is 5", NOW + 2 * MINUTE)
    assert [str(alarm) for alarm in alarms.current(NOW + 3 * MINUTE)] == [
        "2026-11-20T12:02:00Z FeedGap: update follows on revision 9, known is 5 (2 times since 2026-11-20T12:00:00Z)",
        "2026-11-20T12:01:00Z FeedRollback: snapshot shows revision 3, known is 5",
    ]


def test_alarm_stands_for_a_day() -> None:
    alarms = FeedAlarms()
    alarms.sound("FeedGap", "a gap", NOW)
    assert len(alarms.current(NOW + DAY)) == 1
    assert alarms.current(NOW + DAY + MINUTE) == []
    alarms.sound("FeedGap", "a gap", NOW + 2 * DAY)
    assert [alarm.count for alarm in alarms.current(NOW + 2 * DAY)] == [1]


def test_clock_that_is_set_back_hides_no_alarm_and_a_flood_of_kinds_is_cut() -> None:
    alarms = FeedAlarms()
    for n in range(1000):
        alarms.sound(f"Kind{n}", "x", NOW)
    assert alarms.current(NOW - 30 * DAY)[0].kind == "Kind999"
    assert len(alarms.current(NOW)) == 32


class Ca:
    """What the agent has of a CA: one client, and a stream on which a test speaks. Hangs up after the last message."""

    address = "ca"

    def __init__(self, authority: MemoryAuthority) -> None:
        self.source: StaticSource = authority.source("spiffe://example.org/inborn/agent/1")
        self.svid = self.source.snapshot().svids[0]
        self.trust_domain = authority.trust_domain
        self.messages: asyncio.Queue[feed_pb2.FeedMessage] = asyncio.Queue()
        self.watched: list[dict[str, Any]] = []

    async def client(self) -> Ca:
        return self

    async def watch(self, **position: Any) -> Ca:
        self.watched.append(position)
        return self

    def __aiter__(self) -> AsyncIterator[feed_pb2.FeedMessage]:
        return self

    async def __anext__(self) -> feed_pb2.FeedMessage:
        return await self.messages.get()

    async def ack(self, ack: object) -> None:
        """The agent says how far it is."""

    def cancel(self) -> None:
        """The stream has ended."""

    def trust(self, bundle: object, log_id: bytes) -> None:
        """The agent's own identity is told of the bundle."""

    def refused(self, error: Exception) -> None:
        """The agent's own identity is told that the CA refuses it."""


class Following:
    """An agent's cache that follows what a test says."""

    def __init__(self, authority: MemoryAuthority, directory: Path) -> None:
        self.ca: Any = Ca(authority)
        cache = Cache(trust_domain=authority.trust_domain, spread=lambda: 0.0)
        self.live = LiveCache(cache, SvidStore(directory / "keys"))
        attendance, acknowledged = Attendance(), asyncio.Event()
        saver = Saver(self.live, KeptState(directory), acknowledged)
        self.sync = Sync(self.live, self.ca, saver, attendance, acknowledged, Metrics(), spread=lambda: 0.0)
        self.task = asyncio.create_task(self.sync.run())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    async def say(self, *messages: feed_pb2.FeedMessage) -> None:
        for message in messages:
            await self.ca.messages.put(message)
        await self.until(self.ca.messages.empty)

    def kinds(self) -> list[str]:
        return [alarm.kind for alarm in self.sync.alarms.current(self.live.now())]

    def seqs(self) -> list[int]:
        return [rule.seq for rule in self.live.cache.revocations]


@pytest.fixture
async def following(authority: MemoryAuthority, tmp_path: Path) -> AsyncIterator[Following]:
    made = Following(authority, tmp_path)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


def rule(authority: MemoryAuthority, seq: int) -> Revocation:
    issuer = authority.svid("spiffe://example.org/x").facts.authority
    return Revocation(seq=seq, kind=RevocationKind.SERIAL, value=SERIALS[seq], cut_offs={issuer: SERIALS[seq]})


async def known(following: Following, authority: MemoryAuthority, count: int) -> FeedMaker:
    maker = FeedMaker(authority)
    await following.say(maker.snapshot(tuple(rule(authority, seq) for seq in range(1, count + 1))))
    await following.until(lambda: following.seqs() == list(range(1, count + 1)))
    assert following.kinds() == []
    return maker


async def test_gap_is_an_alarm_and_takes_nothing_away(authority: MemoryAuthority, following: Following) -> None:
    maker = await known(following, authority, 2)
    maker.update(rule(authority, 3))
    await following.say(maker.update(rule(authority, 4)))
    await following.until(lambda: following.kinds() == ["FeedGap"])
    assert following.seqs() == [1, 2]


async def test_state_from_before_is_an_alarm_and_takes_nothing_away(
    authority: MemoryAuthority, following: Following
) -> None:
    maker = FeedMaker(authority)
    old = maker.snapshot((rule(authority, 1),))
    await following.say(maker.snapshot((rule(authority, 1), rule(authority, 2))))
    await following.until(lambda: following.seqs() == [1, 2])
    await following.say(old)
    await following.until(lambda: following.kinds() == ["FeedRollback"])
    assert following.seqs() == [1, 2]


async def test_log_that_got_shorter_is_an_alarm_and_takes_nothing_away(
    authority: MemoryAuthority, following: Following
) -> None:
    maker = await known(following, authority, 2)
    await following.say(maker.snapshot((rule(authority, 1),)))
    await following.until(lambda: following.kinds() == ["RevocationGap"])
    assert following.seqs() == [1, 2]


async def test_what_the_signer_did_not_sign_is_an_alarm(authority: MemoryAuthority, following: Following) -> None:
    maker = await known(following, authority, 1)
    forged = maker.update(rule(authority, 2))
    body = feed_pb2.FeedBody.FromString(forged.body)
    body.domain.dropped.append(1)
    forged.body = body.SerializeToString()
    await following.say(forged)
    await following.until(lambda: following.kinds() == ["BadSignature"])
    stranger = FeedMaker(authority, log_svid=FeedMaker(MemoryAuthority("example.org")).svid)
    await following.say(stranger.snapshot())
    await following.until(lambda: following.kinds() == ["UntrustedCertificate", "BadSignature"])
    assert following.seqs() == [1]


async def test_restored_database_is_an_alarm_and_what_it_forgot_holds(
    authority: MemoryAuthority, following: Following
) -> None:
    maker = await known(following, authority, 3)
    maker.log_id = b"r" * 16
    await following.say(maker.snapshot((rule(authority, 1),)))
    await following.until(lambda: following.kinds() == ["LogChanged"])
    (alarm,) = following.sync.alarms.current(following.live.now())
    assert "2 revocations that it may not know hold" in alarm.message
    assert following.seqs() == [2, 3, 1]


async def test_agent_asks_anew_from_nothing_where_gaps_go_on(authority: MemoryAuthority, following: Following) -> None:
    maker = await known(following, authority, 1)
    for _ in itertools.repeat(None, 2):
        maker.update(rule(authority, 2))
        asked = len(following.ca.watched)
        await following.say(maker.update(rule(authority, 3)))
        await following.until(lambda: len(following.ca.watched) > asked)  # noqa: B023 # called before it changes
    assert following.ca.watched[-1]["log_id"] == b""
    assert [alarm.count for alarm in following.sync.alarms.current(following.live.now())] == [2]
    await following.say(maker.snapshot(tuple(rule(authority, seq) for seq in range(1, 4))))
    await following.until(lambda: following.seqs() == [1, 2, 3])
