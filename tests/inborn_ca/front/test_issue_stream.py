"""`IssueStream`: requests one after the other on one stream, each looked at as a call of its own is."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.rpc.request_stream import RequestStream
from inborn._internal.rpc.services import AioStream, AioStub
from inborn._internal.source.snapshot import Snapshot, StaticSource
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_svid import load_certificate, read_certificate
from inborn._internal.verification.verify import CertificateExpired
from inborn._internal.wire.access import CallNotAllowed
from inborn.errors import InbornError, RequestError, UnavailableError
from inborn_ca.front.exchanges import MAX_EXCHANGES_A_CALLER
from inborn_ca.signer.requesters.signed import ReplayedRequest
from inborn_member.authority_client import AuthorityClient
from inborn_member.request_numbers import RequestNumbers
from inborn_proto import admin_pb2, ca_pb2, signed_pb2
from tests.rigs.front_rig import EnrolledAgent, Rig, make_csr, running_ca
from tests.rigs.scraping import scrape

PATIENCE = 10
TRUST_DOMAIN = TrustDomain("example.org")


async def entry_for(rig: Rig, agent: EnrolledAgent) -> str:
    request = admin_pb2.CreateEntryRequest(
        spiffe_id="spiffe://example.org/web", selectors=["unix:uid:1000"], node=agent.spiffe_id, ttl_seconds=300
    )
    return str((await rig.admin("CreateEntry", request)).entry.id)


def items(entry_id: str, count: int = 1) -> ca_pb2.IssueRequest:
    csr = make_csr(ec.generate_private_key(ec.SECP256R1()))
    return ca_pb2.IssueRequest(
        items=[ca_pb2.IssueItem(entry_id=entry_id, csr=csr, selectors=["unix:uid:1000"]) for _ in range(count)]
    )


def request_of(agent: EnrolledAgent, entry_id: str, count: int = 1) -> signed_pb2.SignedRequest:
    return agent.sign("Issue", items(entry_id, count).SerializeToString())


def opened(rig: Rig, agent: EnrolledAgent) -> AioStream:
    return rig.authority(agent).stream("IssueStream", ca_pb2.IssueResponse)


async def ask(stream: AioStream, request: signed_pb2.SignedRequest) -> ca_pb2.IssueResponse:
    await stream.send(request)
    async with asyncio.timeout(PATIENCE):
        answer: ca_pb2.IssueResponse = await anext(stream)
    return answer


async def end_of(stream: AioStream) -> InbornError:
    """What the stream ended with; answers before that are left out."""
    async with asyncio.timeout(PATIENCE):
        try:
            async for _ in stream:
                pass
        except InbornError as e:
            return e
    raise AssertionError("stream ended well")


# -- the front ---------------------------------------------------------------------------------------------------------


async def test_requests_are_answered_in_their_order_also_when_they_are_sent_at_once(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, stream = await entry_for(rig, agent), opened(rig, agent)
        for count in (1, 3, 2):
            await stream.send(request_of(agent, entry, count))
        answers = [await anext(stream) for _ in range(3)]
        assert [len(answer.results) for answer in answers] == [1, 3, 2]
        for answer in answers:
            for result in answer.results:
                assert read_certificate(load_certificate(result.leaf)).spiffe_id.path == "/web"


async def test_refused_item_leaves_the_stream_and_a_refused_request_ends_it(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, stream = await entry_for(rig, agent), opened(rig, agent)
        assert (await ask(stream, request_of(agent, "no-such-entry"))).results[0].error.kind
        request = request_of(agent, entry)
        assert (await ask(stream, request)).results[0].leaf
        with pytest.raises(ReplayedRequest):  # by its number
            await ask(stream, request)
        assert (await ask(opened(rig, agent), request_of(agent, entry))).results[0].leaf


async def test_each_request_is_counted_as_a_call(tmp_path: Path) -> None:
    async with running_ca(tmp_path, metrics=True) as rig:
        agent = await rig.enroll()
        entry, stream = await entry_for(rig, agent), opened(rig, agent)
        for _ in range(3):
            await ask(stream, request_of(agent, entry))
        assert rig.settings.metrics is not None
        scraped = await scrape(rig.settings.metrics.port)
        assert scraped.value("inborn_ca_calls_total", method="/inborn.v1.Authority/IssueStream", outcome="ok") == 3
        assert scraped.value("inborn_ca_certificates_total", outcome="issued") == 3


async def test_daemon_and_workload_are_not_let_in(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        daemon = await rig.enroll(spiffe_id="spiffe://example.org/db")
        with pytest.raises(CallNotAllowed, match=r"daemon may not call '/inborn.v1.Authority/IssueStream'"):
            await ask(opened(rig, daemon), request_of(daemon, "entry"))


@pytest.mark.parametrize("octets", [b"\xff\xff", b"", b"\x0a\x03abc"])
async def test_request_that_is_none_ends_the_stream_with_an_invalid_argument(tmp_path: Path, octets: bytes) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        call = rig.channel(rig.settings.api, agent.svid).stream_stream("/inborn.v1.Authority/IssueStream")()
        await call.write(octets)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_request_above_the_limit_is_refused_and_the_next_stream_works(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, stream = await entry_for(rig, agent), opened(rig, agent)
        await stream.send(signed_pb2.SignedRequest(body=b"x" * 2 * 1024 * 1024, signature=b"x"))
        assert (await end_of(stream)).status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert (await ask(opened(rig, agent), request_of(agent, entry))).results[0].leaf


async def test_revoked_agent_is_refused_on_the_stream_that_is_open(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stream = opened(rig, agent)
        await ask(stream, request_of(agent, await entry_for(rig, agent)))
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=agent.spiffe_id))
        with pytest.raises(CertificateRevoked):
            await ask(stream, request_of(agent, "entry"))


async def test_stream_of_a_revoked_agent_that_says_nothing_is_ended(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent, other = await rig.enroll(), await rig.enroll()
        stream, bystander = opened(rig, agent), opened(rig, other)
        entry = await entry_for(rig, other)
        await ask(stream, request_of(agent, "entry"))
        await ask(bystander, request_of(other, entry))
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=agent.spiffe_id))
        assert isinstance(await end_of(stream), CertificateRevoked)
        assert (await ask(bystander, request_of(other, entry))).results[0].leaf


async def test_expired_agent_is_refused_on_the_stream_that_is_open(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stream = opened(rig, agent)
        await ask(stream, request_of(agent, "entry"))
        rig.clock.ahead = dt.timedelta(days=8)
        await stream.send(request_of(agent, "entry"))
        assert isinstance(await end_of(stream), CertificateExpired)


async def test_agent_with_too_many_streams_loses_the_oldest_and_nobody_else_one(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent, other = await rig.enroll(), await rig.enroll()
        bystander = opened(rig, other)
        await ask(bystander, request_of(other, "entry"))
        streams = []
        for _ in range(MAX_EXCHANGES_A_CALLER + 1):
            streams.append(opened(rig, agent))
            await ask(streams[-1], request_of(agent, "entry"))  # each has a connection: the next one comes after it
        assert f"has opened {MAX_EXCHANGES_A_CALLER} newer streams" in str(await end_of(streams[0]))
        for stream in streams[1:]:
            assert (await ask(stream, request_of(agent, "entry"))).results
        assert (await ask(bystander, request_of(other, "entry"))).results
        assert len(rig.front.ports[1].exchanges) == MAX_EXCHANGES_A_CALLER + 1


async def test_streams_are_forgotten_when_their_callers_go(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stub = rig.authority(agent)
        stream = stub.stream("IssueStream", ca_pb2.IssueResponse)
        await ask(stream, request_of(agent, "entry"))
        exchanges = rig.front.ports[1].exchanges
        assert len(exchanges) == 1
        stream.cancel()
        async with asyncio.timeout(PATIENCE):
            while len(exchanges) or rig.front.admission.streams:
                await asyncio.sleep(0.01)


async def test_stopping_front_ends_streams_at_rest_at_once_and_others_after_their_answer(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry = await entry_for(rig, agent)
        at_rest, at_work = opened(rig, agent), opened(rig, agent)
        await ask(at_rest, request_of(agent, entry))
        await ask(at_work, request_of(agent, entry))
        begun = asyncio.Event()
        forward = rig.to_signer.call_bytes

        async def slow(method: str, body: bytes, timeout: float) -> bytes:
            begun.set()
            await stopping.wait()
            return await forward(method, body, timeout)

        stopping = asyncio.Event()
        rig.to_signer.call_bytes = slow  # type: ignore[method-assign]
        await at_work.send(request_of(agent, entry))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        closing = asyncio.create_task(rig.front.close())
        assert isinstance(await end_of(at_rest), UnavailableError)
        stopping.set()
        async with asyncio.timeout(PATIENCE):
            assert (await anext(at_work)).results[0].leaf
        assert "the CA is stopping" in str(await end_of(at_work))
        await closing


async def test_slow_reader_does_not_hold_up_a_front_that_stops(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry = await entry_for(rig, agent)
        stream = opened(rig, agent)
        for _ in range(20):
            await stream.send(request_of(agent, entry, 200))  # and no answer is fetched
        (exchange,) = rig.front.ports[1].exchanges.all()
        async with asyncio.timeout(PATIENCE):
            while exchange.is_busy or not rig.signer.state.issued_count:
                await asyncio.sleep(0.01)
        begin = time.monotonic()
        await rig.front.close()
        assert time.monotonic() - begin < 4  # and not the whole grace


# -- the client --------------------------------------------------------------------------------------------------------


def client_of(rig: Rig, agent: EnrolledAgent) -> AuthorityClient:
    snapshot = Snapshot(trust_domain=TRUST_DOMAIN, svids=(agent.svid,), bundles={TRUST_DOMAIN: rig.signer.state.bundle})
    numbers = RequestNumbers(agent.number, lambda number: None)
    return AuthorityClient(StaticSource(snapshot), str(rig.settings.api), log_id=agent.response.log_id, numbers=numbers)


async def test_client_keeps_one_stream_for_all_its_requests(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, client = await entry_for(rig, agent), client_of(rig, agent)
        streams = set()
        for _ in range(5):
            assert (await client.issue(items(entry))).results[0].leaf
            streams.update(rig.front.ports[1].exchanges.all())
        assert len(streams) == 1
        await client.close()


async def test_client_goes_on_with_another_stream_where_the_ca_has_ended_it(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, client = await entry_for(rig, agent), client_of(rig, agent)
        await client.issue(items(entry))
        rig.front.ports[1].exchanges.end_all(UnavailableError("for the test"))
        assert (await client.issue(items(entry))).results[0].leaf
        with pytest.raises(RequestError, match="has 0 items"):
            await client.issue(ca_pb2.IssueRequest())
        assert (await client.issue(items(entry))).results[0].leaf
        await client.close()


async def test_client_goes_on_after_a_restart_of_the_ca(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        entry, settings = await entry_for(rig, agent), rig.settings
        client = client_of(rig, agent)
        await client.issue(items(entry))
    with pytest.raises(UnavailableError):
        await client.issue(items(entry))
    async with running_ca(tmp_path, settings=settings) as rig:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    assert (await client.issue(items(entry))).results[0].leaf
                    break
                except UnavailableError:
                    await asyncio.sleep(0.05)
        await client.close()


# -- the client against servers that are not ours ----------------------------------------------------------------------


@asynccontextmanager
async def answering(*behaviour: str) -> AsyncIterator[tuple[RequestStream[ca_pb2.IssueResponse], list[str]]]:
    """A server whose streams behave so, one after the other, and what it was asked: "answers", "silent", "ends" ..."""
    asked: list[str] = []
    plans = iter(behaviour)

    async def converse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        plan = next(plans)
        while (octets := await context.read()) is not grpc.aio.EOF:
            asked.append(signed_pb2.SignedRequest.FromString(octets).body.decode())
            if plan == "ends":
                return
            if plan == "silent":
                continue
            words = asked[-1] if plan != "shouts" else asked[-1].upper()
            await context.write(ca_pb2.IssueResponse(issuer=words.encode()).SerializeToString())
            if plan == "answers once":
                return

    server = grpc.aio.server()
    handlers = {"IssueStream": grpc.stream_stream_rpc_method_handler(converse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inborn.v1.Authority", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = AioStub(channel, ca_pb2.DESCRIPTOR.services_by_name["Authority"])
        yield RequestStream(lambda: stub.stream("IssueStream", ca_pb2.IssueResponse)), asked
    await server.stop(0)


async def say(
    exchange: RequestStream[ca_pb2.IssueResponse], *words: str, key: object = None, timeout: float = 5
) -> str:
    """The words are what it says at its first try, at its second..."""
    each = iter(words)

    def request() -> signed_pb2.SignedRequest:
        return signed_pb2.SignedRequest(body=next(each).encode())

    return (await exchange.ask(request, key=(key,), timeout=timeout)).issuer.decode()


async def test_late_answer_is_not_taken_for_the_next_requests() -> None:
    async with answering("silent", "answers") as (exchange, asked):
        with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
            await say(exchange, "first", timeout=0.2)
        assert await say(exchange, "second") == "second"
        assert asked == ["first", "second"]


async def test_cancelled_request_takes_its_stream_along() -> None:
    async with answering("silent", "answers") as (exchange, asked):
        task = asyncio.create_task(say(exchange, "first"))
        async with asyncio.timeout(PATIENCE):
            while not asked:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await say(exchange, "second") == "second"


async def test_stream_that_ended_meanwhile_is_opened_anew_and_the_request_is_made_anew() -> None:
    async with answering("answers once", "answers") as (exchange, _):
        assert await say(exchange, "first") == "first"
        assert await say(exchange, "second", "second again") in ("second", "second again")


async def test_new_stream_that_ends_is_an_error_and_not_tried_again() -> None:
    async with answering("ends", "answers") as (exchange, asked):
        with pytest.raises(UnavailableError, match="ended the stream"):
            await say(exchange, "first", "again")
        assert asked == ["first"]
        assert await say(exchange, "second") == "second"


async def test_other_key_gets_another_stream() -> None:
    async with answering("answers", "shouts") as (exchange, _):
        one, other = object(), object()
        assert await say(exchange, "first", key=one) == "first"
        assert await say(exchange, "second", key=one) == "second"  # on the same
        assert await say(exchange, "third", key=other) == "THIRD"
