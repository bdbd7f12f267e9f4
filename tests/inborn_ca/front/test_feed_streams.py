"""One stream's queue, and fan-out to many: who does not read is brought up to now later, and holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import serialization
from google.protobuf.message import Message

from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.wire.access import CallerClass
from inborn_ca.front.caller import Caller, CallerReader
from inborn_ca.front.feed_streams import MAX_QUEUED, FeedHub, Stream
from inborn_ca.front.known_domain import KnownDomain, MissedMessage
from inborn_ca.link.link import Link
from inborn_proto import ca_pb2, feed_pb2, signer_pb2
from tests.rigs.certificates import NOW, make_root

LOG = b"l" * 16
AUTHORITY = b"a" * 20
ROOTS = [make_root().certificate.public_bytes(serialization.Encoding.DER)]
SIGNING = "/inborn.signer.v1.Signing/"


def caller(name: str, serial: bytes = b"\1") -> Caller:
    facts = CertificateFacts(
        spiffe_id=parse_spiffe_id(f"spiffe://example.org/inborn/agent/{name}"),
        serial=serial,
        key_hash=b"k" * 32,
        authority=AUTHORITY,
        not_before=NOW - dt.timedelta(hours=1),
        not_after=NOW + dt.timedelta(hours=1),
    )
    return Caller(kind=CallerClass.AGENT, origin="192.0.2.1:1", facts=facts)


def message(
    revision: int, *, previous: int | None = None, snapshot: bool = False, **update: object
) -> feed_pb2.FeedMessage:
    body = feed_pb2.FeedBody(
        trust_domain="example.org",
        log_id=LOG,
        revision=revision,
        previous=revision - 1 if previous is None else previous,
        domain=feed_pb2.DomainUpdate(snapshot=snapshot, **update),  # type: ignore[arg-type]
    )
    return feed_pb2.FeedMessage(body=body.SerializeToString())


def rule(seq: int, serial: bytes) -> feed_pb2.Revocation:
    return feed_pb2.Revocation(
        seq=seq, kind="SERIAL", value=serial, cut_offs=[feed_pb2.CutOff(authority=AUTHORITY, serial=b"\xff" * 19)]
    )


def revision_of(octets: bytes | None) -> int:
    assert octets is not None
    return feed_pb2.FeedBody.FromString(feed_pb2.FeedMessage.FromString(octets).body).revision


@dataclass
class FakeSigner:
    """The other end of the link: answers snapshots at the revision that it is told, when it is let."""

    revision: int = 1
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    async def snapshot(self, _: Message) -> Message:
        self.asked.append("snapshot")
        revision = self.revision
        await self.gate.wait()
        return message(revision, snapshot=True, roots=ROOTS)

    async def node(self, request: Message) -> Message:
        assert isinstance(request, signer_pb2.NodeFeedRequest)
        self.asked.append(f"open {request.spiffe_id[-1]}")
        body = feed_pb2.FeedBody(node=request.spiffe_id, log_id=LOG, node_update=feed_pb2.NodeUpdate(snapshot=True))
        return feed_pb2.FeedMessage(body=body.SerializeToString())

    async def close(self, request: Message) -> Message:
        assert isinstance(request, signer_pb2.NodeFeedRequest)
        self.asked.append(f"close {request.spiffe_id[-1]}")
        return signer_pb2.Done()


@contextlib.asynccontextmanager
async def hub_and_signer() -> AsyncIterator[tuple[FeedHub, FakeSigner, KnownDomain]]:
    root = make_root()
    bundle = X509Bundle(trust_domain=TrustDomain("example.org"), roots=(root.certificate,))
    domain = KnownDomain(bundle, LOG)
    domain.restore([message(1, snapshot=True, roots=ROOTS)])
    signer = FakeSigner()
    signer.gate.set()
    ours, theirs = socket.socketpair()
    link = await Link.open(ours)
    other = await Link.open(
        theirs,
        {
            SIGNING + "DomainSnapshot": signer.snapshot,
            SIGNING + "OpenNodeFeed": signer.node,
            SIGNING + "CloseNodeFeed": signer.close,
        },
    )
    callers = CallerReader(bundle=lambda: domain.bundle, revocations=lambda: domain.revocations, clock=lambda: NOW)
    try:
        yield FeedHub(link, domain, callers), signer, domain
    finally:
        link.close()
        other.close()


def publish(hub: FeedHub, revision: int, **update: object) -> None:
    hub.publish(signer_pb2.Publication(message=message(revision, **update)))  # type: ignore[arg-type]


async def filled(hub: FeedHub, name: str, serial: bytes = b"\1") -> Stream:
    who = caller(name, serial)
    assert who.spiffe_id is not None
    stream = hub.register(who, who.spiffe_id)
    await hub.fill(stream, None)
    assert revision_of(await stream.next()) >= 1
    await stream.next()
    return stream


async def test_message_goes_to_every_stream_as_the_same_octets() -> None:
    async with hub_and_signer() as (hub, _, _domain):
        a, b = await filled(hub, "a"), await filled(hub, "b")
        publish(hub, 2)
        assert await a.next() is await b.next()


async def test_who_does_not_read_loses_its_queue_and_is_filled_again_and_nobody_waits() -> None:
    async with hub_and_signer() as (hub, signer, domain):
        slow, quick = await filled(hub, "a"), await filled(hub, "b")
        for revision in range(2, MAX_QUEUED + 20):
            publish(hub, revision)
            assert revision_of(await quick.next()) == revision
        assert slow.queued <= MAX_QUEUED
        assert hub.resyncs == 1
        assert await slow.next() is None
        signer.revision = domain.revision
        await hub.fill(slow, None)
        assert revision_of(await slow.next()) == domain.revision
        await slow.next()
        publish(hub, domain.revision + 1)
        assert revision_of(await slow.next()) == domain.revision


async def test_what_is_published_while_a_snapshot_is_made_follows_it() -> None:
    async with hub_and_signer() as (hub, signer, _domain):
        signer.gate.clear()
        who = caller("a")
        assert who.spiffe_id is not None
        stream = hub.register(who, who.spiffe_id)
        filling = asyncio.create_task(hub.fill(stream, None))
        while not signer.asked:
            await asyncio.sleep(0)
        publish(hub, 2)
        signer.gate.set()
        await filling
        got = [await stream.next() for _ in range(3)]
        assert [revision_of(octets) for octets in (got[0], got[2])] == [1, 2]


async def test_many_newcomers_share_one_snapshot() -> None:
    async with hub_and_signer() as (hub, signer, _domain):
        await asyncio.gather(*(filled(hub, name) for name in "abcdefgh"))
        assert signer.asked.count("snapshot") == 1
        publish(hub, 2)
        signer.revision = 2
        await filled(hub, "i")
        assert signer.asked.count("snapshot") == 2


async def test_who_knows_a_recent_revision_gets_what_follows_and_no_snapshot() -> None:
    async with hub_and_signer() as (hub, signer, _domain):
        for revision in (2, 3, 4):
            publish(hub, revision)
        who = caller("a")
        assert who.spiffe_id is not None
        stream = hub.register(who, who.spiffe_id)
        await hub.fill(stream, ca_pb2.WatchHello(log_id=LOG, domain_revision=2))
        assert [revision_of(await stream.next()) for _ in range(2)] == [3, 4]
        assert "snapshot" not in signer.asked


async def test_revoked_stream_ends_with_the_message_that_revokes_it() -> None:
    async with hub_and_signer() as (hub, _, _domain):
        victim, bystander = await filled(hub, "a", b"\5"), await filled(hub, "b", b"\6")
        publish(hub, 2, revocations=[rule(1, b"\5")], revocation_seq=1)
        assert isinstance(victim.ended.result(), CertificateRevoked)
        assert not bystander.ended.done()


async def test_missed_message_is_made_good_by_a_snapshot_for_all() -> None:
    async with hub_and_signer() as (hub, signer, domain):
        stream = await filled(hub, "a")
        signer.revision = 7
        publish(hub, 7)
        assert revision_of(await asyncio.wait_for(stream.next(), 5)) == 7
        assert domain.revision == 7


async def test_signer_is_told_when_the_last_stream_of_a_caller_is_gone_and_not_before() -> None:
    async with hub_and_signer() as (hub, signer, _domain):
        first, second = await filled(hub, "a"), await filled(hub, "a")
        hub.unregister(first)
        hub.unregister(first)
        other = await filled(hub, "b")
        assert "close a" not in signer.asked
        hub.unregister(second)
        while "close a" not in signer.asked:
            await asyncio.sleep(0)
        assert not other.ended.done()


def known() -> KnownDomain:
    bundle = X509Bundle(trust_domain=TrustDomain("example.org"), roots=(make_root().certificate,))
    domain = KnownDomain(bundle, LOG)
    domain.restore([message(1, snapshot=True, roots=ROOTS)])
    return domain


def test_gap_changes_nothing() -> None:
    domain = known()
    gap = message(5, revocations=[rule(1, b"\5")], revocation_seq=1)
    with pytest.raises(MissedMessage, match="follows on revision 4, known is 1"):
        domain.apply(gap, b"")
    assert (domain.revision, len(domain.revocations)) == (1, 0)


def test_message_that_comes_again_changes_nothing() -> None:
    domain = known()
    update = message(2, revocations=[rule(1, b"\5")], revocation_seq=1)
    assert len(domain.apply(update, b"x")) == 1
    assert domain.apply(update, b"x") == []
    assert domain.since(LOG, 1) == [b"x"]


def test_recent_messages_are_bounded_by_octets() -> None:
    domain = known()
    large = b"x" * (9 * 1024 * 1024)
    for revision in range(2, 10):
        domain.apply(message(revision), large)
    assert domain.since(LOG, 1) is None
    assert len(domain.since(LOG, 7) or []) == 2
