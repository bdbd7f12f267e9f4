"""gRPC over the library: who calls is known, rotations are not noticed, revoked and expired peers are cut off."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest

from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.grpc_adapter.interceptor import (
    grpc_aio_server_interceptor,
    grpc_server_credentials,
    grpc_server_interceptor,
    peer_identity,
)
from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.rpc.services import error_from_rpc
from inborn._internal.source.snapshot import StaticSource
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.verification.verify import NotAuthorized, authorize_any, authorize_id
from inborn.errors import UnauthenticatedError
from inborn.testing import MemoryAuthority

SERVER = parse_spiffe_id("spiffe://example.org/server")
CLIENT = parse_spiffe_id("spiffe://example.org/client")
OTHER = parse_spiffe_id("spiffe://example.org/other")
WAIT = 20.0  # seconds, after which a call would end by itself
AT_ONCE = WAIT / 4  # milliseconds, where nobody else works: `make bench` measures it


def _who(request: bytes, context: Any) -> bytes:
    peer = peer_identity(context)
    return f"{peer.spiffe_id} {peer.serial.hex()}".encode()


class _Handlers(grpc.GenericRpcHandler):
    """who: names the caller; forever: one message, then silence; echo: both ways."""

    def service(self, handler_call_details: Any) -> Any:
        def forever(request: bytes, context: Any) -> Iterator[bytes]:
            yield _who(request, context)
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait(WAIT)

        def ticks(request: bytes, context: Any) -> Iterator[bytes]:
            ended = threading.Event()
            context.add_callback(ended.set)
            while not ended.wait(0.001):
                yield b"tick"

        def echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            yield from requests

        match handler_call_details.method:
            case "/t/who":
                return grpc.unary_unary_rpc_method_handler(_who)
            case "/t/forever":
                return grpc.unary_stream_rpc_method_handler(forever)
            case "/t/ticks":
                return grpc.unary_stream_rpc_method_handler(ticks)
            case "/t/echo":
                return grpc.stream_stream_rpc_method_handler(echo)
        return None


class _AioHandlers(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        async def who(request: bytes, context: Any) -> bytes:
            return _who(request, context)

        async def forever(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield _who(request, context)
            await asyncio.Event().wait()

        async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for request in requests:
                yield request

        match handler_call_details.method:
            case "/t/who":
                return grpc.unary_unary_rpc_method_handler(who)
            case "/t/forever":
                return grpc.unary_stream_rpc_method_handler(forever)
            case "/t/echo":
                return grpc.stream_stream_rpc_method_handler(echo)
        return None


@pytest.fixture
def source(authority: MemoryAuthority) -> StaticSource:
    return authority.source(SERVER)


@pytest.fixture
def address(source: StaticSource) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[grpc_server_interceptor(source, authorize_any())])
    server.add_generic_rpc_handlers((_Handlers(),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
async def aio_address(source: StaticSource) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[grpc_aio_server_interceptor(source, authorize_any())])
    server.add_generic_rpc_handlers((_AioHandlers(),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def test_caller_is_known_by_its_spiffe_id(authority: MemoryAuthority, address: str) -> None:
    with grpc_channel(authority.source(CLIENT), address, authorize_id(SERVER)) as channel:
        assert channel.unary_unary("/t/who")(b"", timeout=WAIT).startswith(str(CLIENT).encode())


async def test_caller_of_an_aio_server_is_known(authority: MemoryAuthority, aio_address: str) -> None:
    async with grpc_channel(authority.source(CLIENT), aio_address, authorize_id(SERVER), aio=True) as channel:
        answer = await channel.unary_unary("/t/who")(b"", timeout=WAIT)
    assert answer.startswith(str(CLIENT).encode())


async def test_aio_channel_echoes_a_stream(authority: MemoryAuthority, aio_address: str) -> None:
    async with grpc_channel(authority.source(CLIENT), aio_address, authorize_id(SERVER), aio=True) as channel:
        call = channel.stream_stream("/t/echo")()
        for n in range(50):
            await call.write(bytes([n]) * 100_000)
            assert await call.read() == bytes([n]) * 100_000
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


def test_identity_is_not_told_without_the_interceptor() -> None:
    with pytest.raises(UnauthenticatedError, match="interceptor"):
        peer_identity(object())


def test_rotations_of_both_sides_fail_no_call(authority: MemoryAuthority, source: StaticSource, address: str) -> None:
    client = authority.source(CLIENT)
    stop, serials, failures = threading.Event(), set(), []

    with grpc_channel(client, address, authorize_id(SERVER)) as channel:
        who = channel.unary_unary("/t/who")

        def call() -> None:
            while not stop.is_set():
                try:
                    serials.add(who(b"", timeout=WAIT))
                except grpc.RpcError as e:
                    failures.append(e)

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            authority.rotate(client)
            authority.rotate(source)
            expected = who(b"", timeout=WAIT)  # at least one call for each certificate
            assert expected.split()[1] == client.snapshot().svids[0].facts.serial.hex().encode()
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(serials) >= 10


async def test_aio_channel_follows_a_rotation_and_lets_a_stream_end(
    authority: MemoryAuthority, aio_address: str
) -> None:
    client = authority.source(CLIENT)
    async with grpc_channel(client, aio_address, authorize_id(SERVER), aio=True) as channel:
        stream = channel.stream_stream("/t/echo")()
        await stream.write(b"before")
        assert await stream.read() == b"before"
        svid = authority.rotate(client)
        answer = await channel.unary_unary("/t/who")(b"", timeout=WAIT)
        assert answer.split()[1] == svid.facts.serial.hex().encode()
        await stream.write(b"after")
        assert await stream.read() == b"after"
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF


def _refused(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_client_refuses_a_server_with_another_id(authority: MemoryAuthority, address: str) -> None:
    with grpc_channel(authority.source(CLIENT), address, authorize_id(OTHER)) as channel:
        error: Any = _refused(lambda: channel.unary_unary("/t/who")(b"", timeout=WAIT))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert isinstance(channel.reason(), NotAuthorized)


def test_client_refuses_a_revoked_server(authority: MemoryAuthority, address: str) -> None:
    authority.revoke(SERVER)
    with grpc_channel(authority.source(CLIENT), address, authorize_id(SERVER)) as channel:
        _refused(lambda: channel.unary_unary("/t/who")(b"", timeout=WAIT))
        assert isinstance(channel.reason(), CertificateRevoked)


def test_channel_breaks_at_once_when_its_server_is_revoked(authority: MemoryAuthority, address: str) -> None:
    with grpc_channel(authority.source(CLIENT), address, authorize_id(SERVER)) as channel:
        stream = channel.unary_stream("/t/forever")(b"", timeout=WAIT)
        next(stream)
        began = time.monotonic()
        authority.revoke(SERVER)
        _refused(lambda: next(stream))
        assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize("method", ["/t/forever", "/t/ticks"])
def test_stream_of_a_revoked_caller_ends(authority: MemoryAuthority, address: str, method: str) -> None:
    bystander = grpc_channel(authority.source(OTHER), address, authorize_id(SERVER))
    with grpc_channel(authority.source(CLIENT), address, authorize_id(SERVER)) as channel, bystander:
        stream = channel.unary_stream(method)(b"", timeout=WAIT)
        next(stream)
        other = bystander.stream_stream("/t/echo")(iter([b"x"]), timeout=WAIT)
        authority.revoke(CLIENT)
        began = time.monotonic()

        def drain() -> None:
            for _ in stream:
                pass

        error: Any = _refused(drain)
        assert time.monotonic() - began < AT_ONCE
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert isinstance(error_from_rpc(error), CertificateRevoked)
        assert list(other) == [b"x"]
        assert bystander.unary_unary("/t/who")(b"", timeout=WAIT).startswith(str(OTHER).encode())
        again = _refused(lambda: channel.unary_unary("/t/who")(b"", timeout=WAIT))
        assert isinstance(error_from_rpc(again), CertificateRevoked)


async def test_aio_stream_of_a_revoked_caller_ends_with_its_reason(
    authority: MemoryAuthority, aio_address: str
) -> None:
    async with grpc_channel(authority.source(CLIENT), aio_address, authorize_id(SERVER), aio=True) as channel:
        stream = channel.unary_stream("/t/forever")(b"", timeout=WAIT)
        echo = channel.stream_stream("/t/echo")()
        await stream.read()
        await echo.write(b"x")
        assert await echo.read() == b"x"
        began = time.monotonic()
        authority.revoke(CLIENT)
        for call in (stream, echo):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert isinstance(error_from_rpc(caught.value), CertificateRevoked)
        assert time.monotonic() - began < AT_ONCE


async def test_stream_of_an_expired_caller_ends(authority: MemoryAuthority, aio_address: str) -> None:
    client = authority.source(CLIENT, ttl=dt.timedelta(seconds=2))
    async with grpc_channel(client, aio_address, authorize_id(SERVER), aio=True) as channel:
        stream = channel.unary_stream("/t/forever")(b"", timeout=WAIT)
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert "expired" in str(caught.value.details())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_server_without_an_identity_serves_nobody(
    authority: MemoryAuthority, source: StaticSource, address: str
) -> None:
    with grpc_channel(authority.source(CLIENT), address, authorize_id(SERVER)) as channel:
        source.replace(dataclasses.replace(source.snapshot(), svids=(), reason="entry was deleted"))
        error: Any = _refused(lambda: channel.unary_unary("/t/who")(b"", timeout=WAIT))
        assert "entry was deleted" in error.details()


def test_call_without_an_identity_says_why(authority: MemoryAuthority, address: str) -> None:
    client = authority.source_of(reason="no entry matches")
    with grpc_channel(client, address, authorize_id(SERVER)) as channel:
        _refused(lambda: channel.unary_unary("/t/who")(b"", timeout=WAIT))
        reason = channel.reason()
        assert reason is not None
        assert "no entry matches" in str(reason)
