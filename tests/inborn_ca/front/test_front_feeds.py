"""The Watch stream with a real signer: what a newcomer gets, who goes on where, and what ends a stream."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.feed.feed_content import DomainUpdate, Heartbeat, NodeUpdate
from inborn._internal.feed.feed_verifier import FeedVerifier
from inborn._internal.revocation.revocation_set import CertificateRevoked, RevocationSet
from inborn._internal.rpc.services import AioStream
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.verification.verify import CertificateExpired
from inborn.errors import DeniedError, RequestError, UnauthenticatedError, UnavailableError
from inborn_ca.front.feed_streams import MAX_STREAMS_A_CALLER
from inborn_proto import admin_pb2, ca_pb2, feed_pb2
from tests.rigs.front_rig import EnrolledAgent, Rig, body_of, make_csr, now, running_ca


async def next_of(stream: AioStream) -> feed_pb2.FeedMessage:
    async with asyncio.timeout(10):
        message = await anext(stream)
        assert isinstance(message, feed_pb2.FeedMessage)
        return message


async def read_to_the_end(stream: AioStream) -> None:
    while True:
        await next_of(stream)


async def next_update(stream: AioStream) -> feed_pb2.FeedBody:
    """The next message that is no heartbeat."""
    while True:
        body = body_of(await next_of(stream))
        if body.WhichOneof("content") != "heartbeat":
            return body


async def create_entry(rig: Rig, agent: EnrolledAgent, path: str) -> None:
    await rig.admin(
        "CreateEntry",
        admin_pb2.CreateEntryRequest(
            spiffe_id=f"spiffe://example.org{path}", selectors=["unix:uid:1000"], node=agent.spiffe_id
        ),
    )


async def test_newcomer_gets_the_domain_then_its_node_then_what_changes(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stream = await rig.watch(agent)
        verifier = FeedVerifier(trust_domain=TrustDomain("example.org"), node=parse_spiffe_id(agent.spiffe_id))
        bundle, revocations = rig.signer.state.bundle, RevocationSet()
        contents = []
        for _ in range(2):
            update = verifier.receive(await next_of(stream), bundle=bundle, revocations=revocations, now=now())
            contents.append(update.content)
        assert isinstance(contents[0], DomainUpdate)
        assert contents[0].snapshot
        assert isinstance(contents[1], NodeUpdate)
        assert contents[1].snapshot
        await create_entry(rig, agent, "/web")
        update = verifier.receive(await next_of(stream), bundle=bundle, revocations=revocations, now=now())
        while isinstance(update.content, Heartbeat):
            update = verifier.receive(await next_of(stream), bundle=bundle, revocations=revocations, now=now())
        assert isinstance(update.content, NodeUpdate)
        assert [str(entry.spiffe_id) for entry in update.content.entries] == ["spiffe://example.org/web"]


async def test_stream_goes_on_where_it_was_without_a_snapshot(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent, victim = await rig.enroll(), await rig.enroll(spiffe_id="spiffe://example.org/db")
        first = await rig.watch(agent)
        known = await next_update(first)
        first.cancel()
        await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=victim.spiffe_id))
        hello = ca_pb2.WatchHello(log_id=known.log_id, domain_revision=known.revision)
        update = await next_update(await rig.watch(agent, hello))
        assert not update.domain.snapshot
        assert update.previous == known.revision
        assert len(update.domain.revocations) >= 1


@pytest.mark.parametrize(
    "hello",
    [
        ca_pb2.WatchHello(log_id=b"x" * 16, domain_revision=1),
        ca_pb2.WatchHello(domain_revision=1),
        ca_pb2.WatchHello(log_id=b"", domain_revision=2**64 - 1),
    ],
    ids=["another log", "no log", "the future"],
)
async def test_who_knows_something_else_gets_a_snapshot(tmp_path: Path, hello: ca_pb2.WatchHello) -> None:
    async with running_ca(tmp_path) as rig:
        stream = await rig.watch(await rig.enroll(), hello)
        assert body_of(await next_of(stream)).domain.snapshot


async def test_daemon_gets_the_domain_and_no_node(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        daemon = await rig.enroll(spiffe_id="spiffe://example.org/db")
        other = await rig.enroll(spiffe_id="spiffe://example.org/other")
        stream = await rig.watch(daemon)
        assert body_of(await next_of(stream)).domain.snapshot
        await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=other.spiffe_id))
        body = await next_update(stream)
        assert not body.node
        assert body.domain.revocations


async def test_revoked_callers_stream_ends_at_once_and_the_bystanders_goes_on(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent, bystander = await rig.enroll(), await rig.enroll()
        streams = [await rig.watch(agent), await rig.watch(bystander)]
        for stream in streams:
            await next_of(stream)
            await next_of(stream)
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=agent.spiffe_id))
        with pytest.raises(CertificateRevoked):
            await read_to_the_end(streams[0])
        assert (await next_update(streams[1])).domain.revocations
        await create_entry(rig, bystander, "/web")
        while not (await next_update(streams[1])).node_update.entries:
            pass  # the CRL that the revocation made


async def test_expired_callers_stream_ends(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        stream = await rig.watch(await rig.enroll())
        await next_of(stream)
        await next_of(stream)
        rig.clock.ahead = dt.timedelta(days=8)
        with pytest.raises(CertificateExpired):
            await read_to_the_end(stream)


async def test_acknowledgement_reaches_the_signer_and_names_who_lags(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll(name="web1")
        stream = await rig.watch(agent)
        snapshot = await next_update(stream)
        victim = await rig.enroll(spiffe_id="spiffe://example.org/db")
        revoked = await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=victim.spiffe_id))
        request = admin_pb2.PropagationRequest(revocation_seq=revoked.revocation_seq)
        before = await rig.admin("GetPropagation", request)
        assert before.applied < before.peers
        ack = ca_pb2.WatchAck(
            log_id=snapshot.log_id, domain_revision=snapshot.revision + 1, revocation_seq=revoked.revocation_seq
        )
        await stream.send(ca_pb2.WatchRequest(ack=ack))
        after = await rig.admin(
            "GetPropagation",
            admin_pb2.PropagationRequest(revocation_seq=revoked.revocation_seq, wait_ms=5000),
        )
        assert after.applied == after.peers == 1


async def test_signer_knows_who_is_connected(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        first, second = await rig.watch(agent), await rig.watch(agent)
        for stream in (first, second):
            await next_of(stream)
            await next_of(stream)
        assert rig.signer.feeds.connected == [agent.spiffe_id]
        first.cancel()
        await create_entry(rig, agent, "/web")
        while not (await next_update(second)).node_update.entries:
            pass  # the snapshot that the other stream's beginning made
        assert rig.signer.feeds.connected == [agent.spiffe_id]
        second.cancel()
        async with asyncio.timeout(5):
            while rig.signer.feeds.connected:
                await asyncio.sleep(0.01)


async def test_newer_streams_of_a_caller_end_its_oldest(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        streams = []
        for _ in range(MAX_STREAMS_A_CALLER + 1):
            streams.append(await rig.watch(agent))
            await next_of(streams[-1])
        with pytest.raises(UnavailableError, match="newer streams"):
            await read_to_the_end(streams[0])
        await next_of(streams[-1])


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (ca_pb2.WatchRequest(), "must begin with a hello"),
        (ca_pb2.WatchRequest(ack=ca_pb2.WatchAck()), "must begin with a hello"),
        (ca_pb2.WatchRequest(hello=ca_pb2.WatchHello(log_id=b"x" * 300_000)), "larger than"),
    ],
    ids=["nothing", "an acknowledgement", "too large"],
)
async def test_stream_that_begins_wrongly_is_refused(tmp_path: Path, request_: ca_pb2.WatchRequest, rule: str) -> None:
    async with running_ca(tmp_path) as rig:
        stream = rig.authority(await rig.enroll()).stream("Watch", feed_pb2.FeedMessage)
        await stream.send(request_)
        with pytest.raises(RequestError, match=rule):
            await next_of(stream)


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (ca_pb2.WatchRequest(hello=ca_pb2.WatchHello()), "must be acknowledgements"),
        (ca_pb2.WatchRequest(ack=ca_pb2.WatchAck(laggards=["x"] * 101)), "more than 100 laggards: 101"),
    ],
    ids=["second hello", "too many laggards"],
)
async def test_bad_message_within_a_stream_ends_it(tmp_path: Path, request_: ca_pb2.WatchRequest, rule: str) -> None:
    async with running_ca(tmp_path) as rig:
        stream = await rig.watch(await rig.enroll())
        await next_of(stream)
        await next_of(stream)
        await stream.send(request_)
        with pytest.raises(RequestError, match=rule):
            await read_to_the_end(stream)


async def test_stream_of_a_stopping_front_says_unavailable(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        stream = await rig.watch(await rig.enroll())
        await next_of(stream)
        await next_of(stream)
        closing = asyncio.create_task(rig.front.close())
        with pytest.raises(UnavailableError, match="the CA is stopping"):
            await read_to_the_end(stream)
        await closing


async def test_stranger_cannot_watch(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        stream = rig.authority(None).stream("Watch", feed_pb2.FeedMessage)
        with pytest.raises((UnavailableError, UnauthenticatedError)):
            await next_of(stream)


async def test_workload_with_a_good_certificate_is_no_daemon_and_cannot_watch(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        request = admin_pb2.CreateEntryRequest(
            spiffe_id="spiffe://example.org/web", selectors=["unix:uid:1000"], node=agent.spiffe_id
        )
        entry = (await rig.admin("CreateEntry", request)).entry
        key = ec.generate_private_key(ec.SECP256R1())
        item = ca_pb2.IssueItem(entry_id=entry.id, csr=make_csr(key), selectors=["unix:uid:1000"])
        signed = agent.sign("Issue", ca_pb2.IssueRequest(items=[item]).SerializeToString())
        answer = await rig.authority(agent).unary("Issue", signed, ca_pb2.IssueResponse, timeout=10)
        chain = [answer.results[0].leaf, answer.issuer]
        workload = EnrolledAgent(key=key, response=ca_pb2.EnrollResponse(chain=chain, log_id=rig.signer.state.log_id))
        with pytest.raises(DeniedError):
            await next_of(await rig.watch(workload))
        with pytest.raises(DeniedError):
            await rig.authority(workload).unary("Renew", workload.sign("Renew", b""), ca_pb2.EnrollResponse, timeout=10)
        assert rig.signer.feeds.connected == []


async def test_coming_back_costs_octets_in_proportion_to_what_was_missed(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        for number in range(200):
            await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=f"spiffe://example.org/w{number}"))
        state = rig.signer.state
        snapshot = (await next_of(await rig.watch(agent))).ByteSize()
        known = ca_pb2.WatchHello(log_id=state.log_id, domain_revision=state.domain_revision)
        sizes = {}
        for missed in (1, 10):
            for number in range(missed):
                await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=f"spiffe://example.org/m{missed}/{number}"))
            stream = await rig.watch(agent, known)
            sizes[missed] = 0
            revision = known.domain_revision
            while revision < state.domain_revision:
                message = await next_of(stream)
                body = body_of(message)
                if body.WhichOneof("content") == "domain" and body.domain.revocations:
                    assert not body.domain.snapshot
                    assert len(body.domain.revocations) == 1
                    sizes[missed] += message.ByteSize()
                revision = max(revision, body.revision) if not body.node else revision
            known.domain_revision = revision
        assert sizes[1] < snapshot / 10
        assert 9 * sizes[1] <= sizes[10] <= 11 * sizes[1]
