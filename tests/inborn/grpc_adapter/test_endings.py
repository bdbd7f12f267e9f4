"""How calls of a gRPC server end when their caller is refused: with a status, at once, whatever the handler does."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from inborn._internal.grpc_adapter.call_ending import end_call
from inborn._internal.grpc_adapter.channel import RotatingChannel, grpc_channel
from inborn._internal.grpc_adapter.interceptor import (
    AioIdentityInterceptor,
    IdentityInterceptor,
    grpc_server_credentials,
)
from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.rpc.services import error_from_rpc
from inborn._internal.source.snapshot import StaticSource
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.connections import live_peers
from inborn._internal.verification.freshness import FreshnessPolicy, KnowledgeExpired
from inborn._internal.verification.verify import authorize_any, authorize_id
from inborn.errors import UnauthenticatedError
from inborn.testing import MemoryAuthority

SERVER = parse_spiffe_id("spiffe://example.org/server")
CLIENT = parse_spiffe_id("spiffe://example.org/client")
OTHER = parse_spiffe_id("spiffe://example.org/other")
WAIT = 20.0  # seconds, after which a call would end by itself
AT_ONCE = WAIT / 4  # milliseconds, where nobody else works: `make bench` measures it
STREAMS = 100


class Handlers(grpc.GenericRpcHandler):
    """`blocks` waits for what never comes and looks at nothing; `blocks_in_stream` after its first message; `listens`
    waits for requests. `entered` has an item for each handler that runs, `left` one for each that has ended."""

    def __init__(self) -> None:
        self.never = threading.Event()
        self.entered: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.left: queue.SimpleQueue[str] = queue.SimpleQueue()

    def service(self, handler_call_details: Any) -> Any:
        match handler_call_details.method:
            case "/t/answers":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: request)
            case "/t/blocks":
                return grpc.unary_unary_rpc_method_handler(self._blocks)
            case "/t/blocks_in_stream":
                return grpc.unary_stream_rpc_method_handler(self._blocks_in_stream)
            case "/t/listens":
                return grpc.stream_stream_rpc_method_handler(self._listens)
        return None

    def _blocks(self, request: bytes, context: Any) -> bytes:
        self.entered.put("blocks")
        self.never.wait(WAIT)
        self.left.put("blocks")
        return b"too late"

    def _blocks_in_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        self.never.wait(WAIT)
        self.left.put("blocks_in_stream")
        yield b"too late"

    def _listens(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield b"first"
        try:
            yield from requests
        finally:
            self.left.put("listens")


@pytest.fixture
def handlers() -> Iterator[Handlers]:
    made = Handlers()
    yield made
    made.never.set()


@contextmanager
def serving(handlers: grpc.GenericRpcHandler, source: StaticSource, interceptor: IdentityInterceptor) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(STREAMS + 20), interceptors=[interceptor])
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0)


@pytest.fixture
def source(authority: MemoryAuthority) -> StaticSource:
    return authority.source(SERVER)


@pytest.fixture
def address(handlers: Handlers, source: StaticSource) -> Iterator[str]:
    with serving(handlers, source, IdentityInterceptor(source, authorize_any())) as made:
        yield made


def channel_of(authority: MemoryAuthority, who: Any, address: str) -> RotatingChannel:
    return grpc_channel(authority.source(who), address, authorize_id(SERVER))


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def drain(stream: Any) -> None:
    for _ in stream:
        pass


@pytest.mark.parametrize("method", ["blocks", "blocks_in_stream", "listens"])
def test_handler_that_blocks_ends_with_the_reason(
    authority: MemoryAuthority, handlers: Handlers, address: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_of(authority, CLIENT, address) as channel, caplog.at_level(logging.ERROR, "grpc"):
        if method == "blocks":
            future = channel.unary_unary(f"/t/{method}").future(b"", timeout=WAIT)
            handlers.entered.get(timeout=WAIT)
            wait: Callable[[], object] = future.result
        elif method == "blocks_in_stream":
            stream = channel.unary_stream(f"/t/{method}")(b"", timeout=WAIT)
            assert next(stream) == b"first"
            wait = lambda: drain(stream)  # noqa: E731 # two calls, one shape
        else:
            silent: queue.SimpleQueue[bytes] = queue.SimpleQueue()
            stream = channel.stream_stream(f"/t/{method}")(iter(silent.get, None), timeout=WAIT)
            assert next(stream) == b"first"
            wait = lambda: drain(stream)  # noqa: E731 # two calls, one shape
        began = time.monotonic()
        authority.revoke(CLIENT)
        error: Any = refusal(wait)
        assert time.monotonic() - began < AT_ONCE
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert isinstance(error_from_rpc(error), CertificateRevoked)
        handlers.never.set()
        assert handlers.left.get(timeout=WAIT) == method, "the handler's thread is free again"
        if method == "listens":
            silent.put(b"")
    assert not caplog.records


def test_call_on_an_open_connection_is_refused_when_the_certificate_has_ended(
    authority: MemoryAuthority, address: str
) -> None:
    client = authority.source(CLIENT, ttl=dt.timedelta(seconds=2))
    end = client.snapshot().svids[0].leaf.not_valid_after_utc
    answered_at = [dt.datetime.now(dt.UTC)]
    with grpc_channel(client, address, authorize_id(SERVER)) as channel:
        answers = channel.unary_unary("/t/answers")

        def call_until_refused() -> None:
            while answered_at[-1] < end + dt.timedelta(seconds=2):
                answers(b"x", timeout=WAIT)
                answered_at.append(dt.datetime.now(dt.UTC))

        error: Any = refusal(call_until_refused)
    assert answered_at[-1] - end < dt.timedelta(seconds=0.5)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "expired" in error.details()


@pytest.mark.parametrize("what", ["identity", "bundle", "authorizer"])
def test_call_on_an_open_connection_is_judged_anew_when_something_has_changed(
    authority: MemoryAuthority, handlers: Handlers, source: StaticSource, what: str
) -> None:
    allowed = {CLIENT}
    with serving(handlers, source, IdentityInterceptor(source, allowed.__contains__)) as address:
        with channel_of(authority, CLIENT, address) as channel:
            answers = channel.unary_unary("/t/answers")
            assert answers(b"x", timeout=WAIT) == answers(b"x", timeout=WAIT) == b"x"
            match what:
                case "identity":
                    source.replace(dataclasses.replace(source.snapshot(), svids=(), reason="withdrawn"))
                case "bundle":
                    other = MemoryAuthority("example.org")
                    source.replace(dataclasses.replace(source.snapshot(), bundles={other.trust_domain: other.bundle}))
                case "authorizer":
                    allowed.clear()
            error: Any = refusal(lambda: answers(b"x", timeout=WAIT))
    wanted = {
        "identity": grpc.StatusCode.UNAVAILABLE,
        "bundle": grpc.StatusCode.UNAUTHENTICATED,
        "authorizer": grpc.StatusCode.PERMISSION_DENIED,
    }
    assert error.code() is wanted[what]


def test_where_grpc_lacks_what_sends_a_status_the_call_is_cancelled() -> None:
    class Context:
        is_cancelled = False

        def cancel(self) -> None:
            self.is_cancelled = True

    context: Any = Context()
    end_call(context, UnauthenticatedError("revoked"))
    assert context.is_cancelled


def test_streams_of_one_identity_are_cut_and_bystanders_are_not(
    authority: MemoryAuthority, handlers: Handlers, address: str
) -> None:
    bystander = channel_of(authority, OTHER, address)
    with channel_of(authority, CLIENT, address) as channel, bystander:
        doomed = [channel.unary_stream("/t/blocks_in_stream")(b"", timeout=WAIT) for _ in range(STREAMS)]
        spared = [bystander.unary_stream("/t/blocks_in_stream")(b"", timeout=WAIT) for _ in range(5)]
        for stream in (*doomed, *spared):
            assert next(stream) == b"first"
        listed = [peer for peer in live_peers() if peer.direction == "inbound" and peer.spiffe_id == CLIENT]
        assert len(listed) == STREAMS
        began = time.monotonic()
        authority.revoke(CLIENT)
        codes = {refusal(lambda: next(stream)).code() for stream in doomed}  # type: ignore[attr-defined] # noqa: B023
        assert time.monotonic() - began < AT_ONCE
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}
        handlers.never.set()
        for stream in spared:
            assert next(stream) == b"too late"


# When the CA has not been heard for too long.


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("when_expired", ["open", "closed", "closed-new"])
def test_silence_of_the_ca(
    authority: MemoryAuthority, handlers: Handlers, source: StaticSource, when_expired: str
) -> None:
    clock = Clock()
    source.touch(dataclasses.replace(source.snapshot(), heard_at=clock.now))
    policy = FreshnessPolicy(when_expired=when_expired)
    interceptor = IdentityInterceptor(source, authorize_any(), freshness=policy, monotonic=clock)
    with serving(handlers, source, interceptor) as address, channel_of(authority, CLIENT, address) as channel:
        answers = channel.unary_unary("/t/answers")
        stream = channel.unary_stream("/t/blocks_in_stream")(b"", timeout=WAIT)
        assert next(stream) == b"first"
        clock.now += 301
        source.replace(source.snapshot())  # anything new makes the server look
        if when_expired == "open":
            assert answers(b"x", timeout=WAIT) == b"x"
        else:
            error: Any = refusal(lambda: answers(b"x", timeout=WAIT))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert isinstance(error_from_rpc(error), KnowledgeExpired)
            assert "the CA was heard 301 s ago" in error.details()
        if when_expired == "closed":
            error = refusal(lambda: next(stream))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        else:
            handlers.never.set()
            assert next(stream) == b"too late"
        source.touch(dataclasses.replace(source.snapshot(), heard_at=clock.now))
        assert answers(b"x", timeout=WAIT) == b"x"


async def test_silence_of_the_ca_ends_calls_of_an_aio_server(authority: MemoryAuthority, source: StaticSource) -> None:
    class AioHandlers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            async def forever(request: bytes, context: Any) -> AsyncIterator[bytes]:
                yield b"first"
                await asyncio.Event().wait()

            return grpc.unary_stream_rpc_method_handler(forever)

    clock = Clock()
    source.touch(dataclasses.replace(source.snapshot(), heard_at=clock.now))
    policy = FreshnessPolicy(when_expired="closed")
    interceptor = AioIdentityInterceptor(source, authorize_any(), freshness=policy, monotonic=clock)
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers((AioHandlers(),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    await server.start()
    async with grpc_channel(authority.source(CLIENT), f"127.0.0.1:{port}", authorize_id(SERVER), aio=True) as channel:
        stream = channel.unary_stream("/t/forever")(b"", timeout=WAIT)
        assert await stream.read() == b"first"
        clock.now += 301
        source.replace(source.snapshot())
        for call in (stream, channel.unary_stream("/t/forever")(b"", timeout=WAIT)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert isinstance(error_from_rpc(caught.value), KnowledgeExpired)
    await server.stop(0)


def test_client_that_must_know_refuses_its_server(authority: MemoryAuthority, address: str) -> None:
    client = authority.source(CLIENT)
    policy = FreshnessPolicy(
        when_expired="closed", stale_after=dt.timedelta(seconds=0.2), expired_after=dt.timedelta(seconds=0.3)
    )
    with grpc_channel(client, address, authorize_id(SERVER), freshness=policy) as channel:
        client.touch(dataclasses.replace(client.snapshot(), heard_at=time.monotonic()))
        stream = channel.unary_stream("/t/blocks_in_stream")(b"", timeout=WAIT)
        assert next(stream) == b"first"
        error: Any = refusal(lambda: next(stream))  # nothing happens but that time goes by
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        refusal(lambda: channel.unary_unary("/t/answers")(b"", timeout=WAIT))
        assert isinstance(channel.reason(), KnowledgeExpired)
