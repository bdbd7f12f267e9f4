"""Services and stubs made from descriptors, synchronous and aio, over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from inborn._internal.enrollment.join_token import InvalidToken
from inborn._internal.rpc.services import AioStub, Guard, Stub, service_handler
from inborn._internal.wire.messages import UnimplementedError
from inborn.errors import DeniedError, InbornError, InternalError, UnavailableError
from inborn_proto import ca_pb2, feed_pb2, signed_pb2
from tests.rigs.open_guard import refuse_nobody

SERVICES = ca_pb2.DESCRIPTOR.services_by_name
WAIT = 5.0


def answer(text: bytes) -> ca_pb2.EnrollResponse:
    """Raise what the request asks for, or answer."""
    match text:
        case b"ours":
            raise InvalidToken("join token is cut off", hint="paste it whole")
        case b"bug":
            raise ZeroDivisionError("the secret is 42")
    return ca_pb2.EnrollResponse(spiffe_id=text.decode())


class Sync:
    def Enroll(self, request: ca_pb2.EnrollRequest, context: Any) -> ca_pb2.EnrollResponse:
        return answer(request.body)

    def Watch(self, requests: Iterator[ca_pb2.WatchRequest], context: Any) -> Iterator[feed_pb2.FeedMessage]:
        for request in requests:
            yield feed_pb2.FeedMessage(body=answer(request.hello.log_id).spiffe_id.encode())


class Aio:
    async def Enroll(self, request: ca_pb2.EnrollRequest, context: Any) -> ca_pb2.EnrollResponse:
        return answer(request.body)

    async def Watch(
        self, requests: AsyncIterator[ca_pb2.WatchRequest], context: Any
    ) -> AsyncIterator[feed_pb2.FeedMessage]:
        async for request in requests:
            yield feed_pb2.FeedMessage(body=answer(request.hello.log_id).spiffe_id.encode())


def handlers(implementation: object, guard: Guard = refuse_nobody) -> tuple[grpc.GenericRpcHandler, ...]:
    return tuple(service_handler(SERVICES[name], implementation, guard) for name in ("Bootstrap", "Authority"))


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[grpc.Channel]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(handlers(Sync()))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel
    server.stop(0).wait()


@pytest.fixture
async def aio_channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers(Aio()))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel
    await server.stop(0)


def enroll(channel: grpc.Channel, text: bytes) -> ca_pb2.EnrollResponse:
    request = ca_pb2.EnrollRequest(body=text)
    return Stub(channel, SERVICES["Bootstrap"]).unary("Enroll", request, ca_pb2.EnrollResponse, timeout=WAIT)


async def enroll_aio(channel: grpc.aio.Channel, text: bytes) -> ca_pb2.EnrollResponse:
    request = ca_pb2.EnrollRequest(body=text)
    stub = AioStub(channel, SERVICES["Bootstrap"])
    return await stub.unary("Enroll", request, ca_pb2.EnrollResponse, timeout=WAIT)


def hello(text: bytes) -> ca_pb2.WatchRequest:
    return ca_pb2.WatchRequest(hello=ca_pb2.WatchHello(log_id=text))


def is_ours(error: InbornError) -> bool:
    return type(error) is InvalidToken and error.hint == "paste it whole"


def test_answer_and_errors(channel: grpc.Channel) -> None:
    assert enroll(channel, b"x").spiffe_id == "x"
    with pytest.raises(InvalidToken) as caught:
        enroll(channel, b"ours")
    assert is_ours(caught.value)
    with pytest.raises(InternalError) as bug:
        enroll(channel, b"bug")
    assert "42" not in str(bug.value)


async def test_answer_and_errors_of_aio(aio_channel: grpc.aio.Channel) -> None:
    assert (await enroll_aio(aio_channel, b"x")).spiffe_id == "x"
    with pytest.raises(InvalidToken) as caught:
        await enroll_aio(aio_channel, b"ours")
    assert is_ours(caught.value)
    with pytest.raises(InternalError) as bug:
        await enroll_aio(aio_channel, b"bug")
    assert "42" not in str(bug.value)


def test_stream_and_its_errors(channel: grpc.Channel) -> None:
    stub = Stub(channel, SERVICES["Authority"])
    answers = stub.stream("Watch", iter([hello(b"a"), hello(b"ours")]), feed_pb2.FeedMessage)
    assert next(answers).body == b"a"
    with pytest.raises(InvalidToken) as caught:
        next(answers)
    assert is_ours(caught.value)
    with pytest.raises(InternalError):
        list(stub.stream("Watch", iter([hello(b"bug")]), feed_pb2.FeedMessage))


async def test_aio_stream_and_its_errors(aio_channel: grpc.aio.Channel) -> None:
    stub = AioStub(aio_channel, SERVICES["Authority"])
    stream = stub.stream("Watch", feed_pb2.FeedMessage)
    await stream.send(hello(b"a"))
    assert (await anext(stream)).body == b"a"
    await stream.send(hello(b"ours"))
    with pytest.raises(InvalidToken) as caught:
        await anext(stream)
    assert is_ours(caught.value)
    with pytest.raises(InvalidToken):
        await stream.send(hello(b"late"))


async def test_cancelled_stream_is_unavailable_to_its_reader(aio_channel: grpc.aio.Channel) -> None:
    stream = AioStub(aio_channel, SERVICES["Authority"]).stream("Watch", feed_pb2.FeedMessage)
    await stream.send(hello(b"a"))
    await anext(stream)
    stream.cancel()
    with pytest.raises(UnavailableError, match="cancelled"):
        await anext(stream)


def refuse_all(method: str, context: Any) -> None:
    raise DeniedError(f"{method!a} is not for {context.peer().partition(':')[0]}")


def test_guard_refuses_before_the_method_is_entered(tmp_path: Path) -> None:
    entered: list[str] = []

    class Entered(Sync):
        def Enroll(self, request: ca_pb2.EnrollRequest, context: Any) -> ca_pb2.EnrollResponse:
            entered.append("Enroll")
            return answer(request.body)

        def Watch(self, requests: Iterator[ca_pb2.WatchRequest], context: Any) -> Iterator[feed_pb2.FeedMessage]:
            entered.append("Watch")
            yield from super().Watch(requests, context)

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=handlers(Entered(), refuse_all))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        with pytest.raises(DeniedError, match=r"'/inborn.v1.Bootstrap/Enroll' is not for unix"):
            enroll(channel, b"x")
        with pytest.raises(DeniedError, match=r"'/inborn.v1.Authority/Watch' is not for unix"):
            next(Stub(channel, SERVICES["Authority"]).stream("Watch", iter([hello(b"a")]), feed_pb2.FeedMessage))
    server.stop(0).wait()
    assert entered == []


async def test_guard_of_an_aio_server_refuses_before_the_method_is_entered(tmp_path: Path) -> None:
    entered: list[str] = []

    class Entered(Aio):
        async def Enroll(self, request: ca_pb2.EnrollRequest, context: Any) -> ca_pb2.EnrollResponse:
            entered.append("Enroll")
            return answer(request.body)

        async def Watch(
            self, requests: AsyncIterator[ca_pb2.WatchRequest], context: Any
        ) -> AsyncIterator[feed_pb2.FeedMessage]:
            entered.append("Watch")
            async for message in super().Watch(requests, context):
                yield message

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers(Entered(), refuse_all))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        with pytest.raises(DeniedError, match=r"'/inborn.v1.Bootstrap/Enroll' is not for unix"):
            await enroll_aio(channel, b"x")
        with pytest.raises(DeniedError, match=r"'/inborn.v1.Authority/Watch' is not for unix"):
            await anext(AioStub(channel, SERVICES["Authority"]).stream("Watch", feed_pb2.FeedMessage))
    await server.stop(0)
    assert entered == []


def test_rpc_without_a_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(UnimplementedError):
        Stub(channel, SERVICES["Bootstrap"]).unary(
            "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=WAIT
        )


def test_wrong_answer_type_is_a_bug_of_the_caller(channel: grpc.Channel) -> None:
    with pytest.raises(InternalError, match="answers EnrollResponse"):
        Stub(channel, SERVICES["Bootstrap"]).unary("Enroll", ca_pb2.EnrollRequest(), signed_pb2.Error, timeout=WAIT)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with grpc.insecure_channel(f"unix:{tmp_path}/none") as channel, pytest.raises(UnavailableError):
        enroll(channel, b"x")


def test_request_that_is_no_message_is_refused(channel: grpc.Channel) -> None:
    raw = channel.unary_unary("/inborn.v1.Bootstrap/Enroll")
    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff\xff", timeout=WAIT)
    error: Any = caught.value
    assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
