"""The frame link: who asks is answered or told why not, and nothing that arrives can hang or grow it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from google.protobuf.message import Message

from inborn._internal.wire.frames import encode_frame
from inborn._internal.wire.methods import UnknownMethod
from inborn.errors import DeniedError, ExhaustedError, InternalError, RequestError
from inborn_ca.link.link import Handler, Incoming, Link, LinkClosed, LinkTimeout
from inborn_proto import ca_pb2, signer_pb2

CERTIFY = "/inborn.signer.v1.Signing/CertifyFront"
PROBE = "/inborn.signer.v1.Fronting/Probe"
PUBLISH = "/inborn.signer.v1.Fronting/Publish"


@contextlib.asynccontextmanager
async def pair(
    server: dict[str, Handler] | None = None, client: dict[str, Handler] | None = None, **server_options: object
) -> AsyncIterator[tuple[Link, Link]]:
    """Two links, the second one answers."""
    a, b = socket.socketpair()
    one = await Link.open(a, client, name="signer")
    two = await Link.open(b, server, name="front", **server_options)  # type: ignore[arg-type]
    try:
        yield one, two
    finally:
        one.close()
        two.close()
        await one.wait_closed()
        await two.wait_closed()


async def certify(message: Message) -> Message:
    assert isinstance(message, signer_pb2.CertifyFrontRequest)
    return signer_pb2.CertifyFrontResponse(chain=[message.csr])


async def ask(link: Link, csr: bytes = b"x", timeout: float = 5) -> list[bytes]:
    request = signer_pb2.CertifyFrontRequest(csr=csr)
    return list((await link.call(CERTIFY, request, signer_pb2.CertifyFrontResponse, timeout)).chain)


async def test_both_sides_ask_and_answer_at_the_same_time() -> None:
    async def probe(_: Message) -> Message:
        return signer_pb2.ProbeResponse(ports=[signer_pb2.PortHealth(name="api")])

    async with pair({CERTIFY: certify}, {PROBE: probe}) as (front, signer):
        answers = await asyncio.gather(
            *(ask(front, bytes([n])) for n in range(50)),
            *(signer.call(PROBE, signer_pb2.ProbeRequest(), signer_pb2.ProbeResponse) for _ in range(50)),
        )
    assert answers[:50] == [[bytes([n])] for n in range(50)]
    assert all(answer.ports[0].name == "api" for answer in answers[50:])


async def test_answers_may_come_in_any_order() -> None:
    first = asyncio.Event()

    async def slow_then_fast(message: Message) -> Message:
        if message.csr == b"slow":  # type: ignore[attr-defined]
            await first.wait()
        else:
            first.set()
        return await certify(message)

    async with pair({CERTIFY: slow_then_fast}) as (link, _):
        assert await asyncio.gather(ask(link, b"slow"), ask(link, b"fast")) == [[b"slow"], [b"fast"]]


async def test_error_keeps_its_type_text_and_hint() -> None:
    async def refuse(_: Message) -> Message:
        raise DeniedError("not for you", hint="ask an admin")

    async with pair({CERTIFY: refuse}) as (link, _):
        with pytest.raises(DeniedError, match="not for you") as caught:
            await ask(link)
    assert caught.value.hint == "ask an admin"


async def test_bug_in_a_handler_is_an_internal_error_that_tells_nothing() -> None:
    async def broken(_: Message) -> Message:
        raise ZeroDivisionError("secret detail")

    async with pair({CERTIFY: broken}) as (link, _):
        with pytest.raises(InternalError) as caught:
            await ask(link)
    assert "secret" not in str(caught.value)


async def test_unknown_method_is_refused_and_the_link_goes_on() -> None:
    async with pair({CERTIFY: certify}) as (link, _):
        with pytest.raises(UnknownMethod):
            await link.call("/no/such", signer_pb2.Done(), signer_pb2.Done)
        assert await ask(link, b"y") == [b"y"]


async def test_body_that_is_no_message_is_refused_and_the_link_goes_on() -> None:
    async with pair({CERTIFY: certify}) as (link, _):
        with pytest.raises(RequestError, match="is not a CertifyFrontRequest"):
            await link.call_bytes(CERTIFY, b"\xff\xff\xff")
        assert await ask(link, b"y") == [b"y"]


async def test_all_requests_of_one_read_are_handed_over_together() -> None:
    groups: list[int] = []

    def take(requests: Sequence[Incoming]) -> None:
        groups.append(len(requests))
        for request in requests:
            request.reply(signer_pb2.CertifyFrontResponse(chain=[b"ok"]))

    async with pair(on_requests=take) as (link, _):
        await asyncio.gather(*(ask(link) for _ in range(100)))
    assert groups == [100]


async def test_owner_that_fails_to_dispatch_refuses_what_it_took() -> None:
    def fail(_: Sequence[Incoming]) -> None:
        raise RuntimeError

    async with pair(on_requests=fail) as (link, _):
        with pytest.raises(InternalError):
            await ask(link)


async def test_notice_is_delivered_and_not_answered() -> None:
    got: asyncio.Queue[signer_pb2.Publication] = asyncio.Queue()

    async def publish(message: Message) -> Message:
        assert isinstance(message, signer_pb2.Publication)
        got.put_nowait(message)
        raise DeniedError("an error of a notice goes nowhere")

    async with pair({PUBLISH: publish, CERTIFY: certify}) as (link, _):
        link.notify(PUBLISH, signer_pb2.Publication(node="n"))
        assert (await got.get()).node == "n"
        assert await ask(link) == [b"x"]


async def test_call_that_is_not_answered_times_out_and_its_late_answer_is_dropped() -> None:
    held: list[Incoming] = []

    async with pair(on_requests=held.extend) as (link, _):
        with pytest.raises(LinkTimeout, match=r"did not answer .* within 0\.01 s"):
            await ask(link, timeout=0.01)
        asked = asyncio.create_task(ask(link))
        while len(held) < 2:
            await asyncio.sleep(0)
        for request in held:
            request.reply(signer_pb2.CertifyFrontResponse(chain=[b"late"]))
        assert await asked == [b"late"]


async def test_everybody_who_waits_is_told_when_the_other_side_dies() -> None:
    held: list[Incoming] = []
    async with pair(on_requests=held.extend) as (link, other):
        calls = [asyncio.create_task(ask(link)) for _ in range(10)]
        while len(held) < 10:
            await asyncio.sleep(0)
        other.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, LinkClosed) for result in results)
        with pytest.raises(LinkClosed, match="signer has closed the connection"):
            await ask(link)


async def test_open_calls_are_bounded() -> None:
    held: list[Incoming] = []
    a, b = socket.socketpair()
    link = await Link.open(a, max_calls=2)
    other = await Link.open(b, on_requests=held.extend)
    calls = [asyncio.create_task(ask(link)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ExhaustedError, match="more than 2 calls"):
        await ask(link)
    other.close()
    await asyncio.gather(*calls, return_exceptions=True)
    link.close()


async def test_requests_over_the_limit_are_refused_and_those_below_answered() -> None:
    held: list[Incoming] = []
    async with pair(on_requests=held.extend, max_incoming=3) as (link, _):
        calls = [asyncio.create_task(ask(link)) for _ in range(5)]
        while len(held) < 3:
            await asyncio.sleep(0)
        refused = await asyncio.gather(*calls[3:], return_exceptions=True)
        assert all(isinstance(error, ExhaustedError) for error in refused)
        for request in held:
            request.reply(signer_pb2.CertifyFrontResponse(chain=[b"ok"]))
        assert await asyncio.gather(*calls[:3]) == [[b"ok"]] * 3


async def test_caller_waits_while_the_other_side_does_not_read() -> None:
    a, b = socket.socketpair()
    link = await Link.open(a)
    b.setblocking(False)
    request = ca_pb2.EnrollRequest(body=b"x" * 100_000)
    calls = [asyncio.create_task(link.call("/x/y", request, signer_pb2.Done, 30)) for _ in range(100)]
    for _ in range(20):
        await asyncio.sleep(0)
    # One turn's writes may lie in the buffer; with the socket full, the next ones wait.
    later = [asyncio.create_task(link.call("/x/y", request, signer_pb2.Done, 30)) for _ in range(100)]
    buffered = link.unsent
    for _ in range(20):
        await asyncio.sleep(0)
    assert 0 < link.unsent <= buffered
    b.close()
    results = await asyncio.gather(*calls, *later, return_exceptions=True)
    assert all(isinstance(result, LinkClosed) for result in results)


async def test_answering_side_takes_no_more_requests_while_its_answers_are_not_fetched() -> None:
    taken = 0

    def take(requests: Sequence[Incoming]) -> None:
        nonlocal taken
        taken += len(requests)
        for request in requests:
            request.reply(signer_pb2.CertifyFrontResponse(chain=[b"x" * 100_000]))

    a, b = socket.socketpair()
    other = await Link.open(b, on_requests=take, pauses_reading=True)
    a.setblocking(False)
    loop = asyncio.get_running_loop()
    frame = encode_frame(
        signer_pb2.Frame(id=1, method=CERTIFY, body=b"\x0a\x01x").SerializeToString()
    )  # the same id again: the link does not mind
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            for _ in range(20_000):
                await loop.sock_sendall(a, frame)
                sent += 1
    assert taken < 20_000
    assert sent < 20_000
    a.close()
    await other.wait_closed()


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xff\xff\xff",
        encode_frame(b"\xff\xff\xff"),
        encode_frame(signer_pb2.Frame(id=7, body=b"").SerializeToString()),
        encode_frame(b""),
        encode_frame(signer_pb2.Frame(id=7, method="/x", error={"kind": "X"}).SerializeToString()),
    ],
    ids=["too long", "no protobuf", "answer to nothing", "empty", "request with an error"],
)
async def test_malformed_frame_ends_the_link(octets: bytes) -> None:
    a, b = socket.socketpair()
    link = await Link.open(a)
    call = asyncio.create_task(ask(link)) if octets[:1] == b"\xff" else None
    await asyncio.sleep(0)
    b.sendall(octets)
    await asyncio.wait_for(link.wait_closed(), 5)
    if call is not None:
        with pytest.raises(LinkClosed, match="was ended"):
            await call
    b.close()


async def test_answer_too_large_for_a_frame_is_an_error_and_the_link_goes_on() -> None:
    async def huge(message: Message) -> Message:
        if message.csr == b"huge":  # type: ignore[attr-defined]
            return signer_pb2.CertifyFrontResponse(chain=[b"x" * (17 * 1024 * 1024)])
        return await certify(message)

    async with pair({CERTIFY: huge}) as (link, _):
        with pytest.raises(InternalError, match="larger than"):
            await ask(link, b"huge")
        assert await ask(link) == [b"x"]


async def test_answering_twice_is_a_bug() -> None:
    held: list[Incoming] = []
    async with pair(on_requests=held.extend) as (link, _):
        call = asyncio.create_task(ask(link))
        while not held:
            await asyncio.sleep(0)
        held[0].reply(signer_pb2.CertifyFrontResponse())
        with pytest.raises(InternalError, match="answered twice"):
            held[0].fail(DeniedError("no"))
        assert await call == []
