"""Hundreds of rotations leave nothing behind: one tunnel, connection, task, directory and descriptor, as before them;
and a connection is replaced before the certificate of either side ends.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from inborn import live_peers
from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor
from inborn._internal.source.background import background_loop
from inborn._internal.source.snapshot import StaticSource
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.tunnel import Tunnel
from inborn._internal.verification.verify import authorize_any, authorize_id
from inborn.testing import MemoryAuthority

SERVER = parse_spiffe_id("spiffe://example.org/server")
CLIENT = parse_spiffe_id("spiffe://example.org/client")
ROTATIONS = 100
PATIENCE = 10.0


class Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        def forever(request: bytes, context: Any) -> Iterator[bytes]:
            yield b"begun"
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait(PATIENCE)

        if handler_call_details.method == "/t/forever":
            return grpc.unary_stream_rpc_method_handler(forever)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


@pytest.fixture(autouse=True)
def temporary_directory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What lies in it is counted, and other programs make sockets as well. Its path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield


@pytest.fixture
def server_source(authority: MemoryAuthority) -> StaticSource:
    return authority.source(SERVER)


@pytest.fixture
def address(server_source: StaticSource) -> Iterator[str]:
    server = grpc.server(
        futures.ThreadPoolExecutor(8), interceptors=[grpc_server_interceptor(server_source, authorize_any())]
    )
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(server_source))
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def counted() -> dict[str, int]:
    """What a channel is made of and could leave behind."""
    gc.collect()
    tasks = asyncio.run_coroutine_threadsafe(_count_tasks(), background_loop()).result(PATIENCE)
    return {
        "tunnels": sum(isinstance(o, Tunnel) for o in gc.get_objects()),
        "connections": len([peer for peer in live_peers() if peer.direction == "outbound"]),
        "tasks": tasks,
        "directories": len(list(Path(tempfile.gettempdir()).glob("inborn-socket-*/t"))),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())


def settled(before: dict[str, int]) -> dict[str, int]:
    """What is there more than before, once what is ending has ended: at the latest after some patience."""
    deadline = time.monotonic() + PATIENCE
    while True:
        more = {name: count - before[name] for name, count in counted().items() if count > before[name]}
        if not more or time.monotonic() > deadline:
            return more
        threading.Event().wait(0.05)


def test_a_hundred_rotations_leave_one_connection_and_nothing_else(authority: MemoryAuthority, address: str) -> None:
    source = authority.source(CLIENT)
    with grpc_channel(source, address, authorize_id(SERVER)) as channel:
        call = channel.unary_unary("/t/echo")
        assert call(b"1", timeout=PATIENCE) == b"1"
        before = counted()
        for _ in range(ROTATIONS):
            authority.rotate(source)
            assert call(b"x", timeout=PATIENCE) == b"x"
        assert settled(before) == {}
        assert SERVER in [peer.spiffe_id for peer in live_peers() if peer.direction == "outbound"]


async def test_a_hundred_rotations_of_an_aio_channel_leave_nothing(authority: MemoryAuthority, address: str) -> None:
    source = authority.source(CLIENT)
    async with grpc_channel(source, address, authorize_id(SERVER), aio=True) as channel:
        call = channel.unary_unary("/t/echo")
        assert await call(b"1", timeout=PATIENCE) == b"1"
        before = counted()
        for _ in range(ROTATIONS):
            authority.rotate(source)
            assert await call(b"x", timeout=PATIENCE) == b"x"
        assert await asyncio.to_thread(settled, before) == {}


def test_a_closed_channel_leaves_nothing(authority: MemoryAuthority, address: str) -> None:
    source = authority.source(CLIENT)
    before = counted()
    for _ in range(20):
        with grpc_channel(source, address, authorize_id(SERVER)) as channel:
            assert channel.unary_unary("/t/echo")(b"x", timeout=PATIENCE) == b"x"
    assert settled(before) == {}


def test_calls_do_not_fail_when_the_servers_certificate_ends_and_the_clients_does_not(
    authority: MemoryAuthority, server_source: StaticSource, address: str
) -> None:
    """The server rotates in time; a client whose own certificate is good for an hour follows it."""
    life = dt.timedelta(seconds=3)
    authority.rotate(server_source, ttl=life)
    source = authority.source(CLIENT)
    renew = time.monotonic() + life.total_seconds() / 2
    end = time.monotonic() + 3 * life.total_seconds()
    with grpc_channel(source, address, authorize_id(SERVER)) as channel:
        call = channel.unary_unary("/t/echo")
        calls = 0
        while time.monotonic() < end:
            if time.monotonic() > renew:
                authority.rotate(server_source, ttl=life)
                renew = time.monotonic() + life.total_seconds() / 2
            assert call(b"x", timeout=PATIENCE) == b"x"
            calls += 1
    assert calls > 100


def test_a_stream_that_is_open_goes_on_where_new_calls_take_a_new_connection(
    authority: MemoryAuthority, server_source: StaticSource, address: str
) -> None:
    life = dt.timedelta(seconds=6)
    authority.rotate(server_source, ttl=life)
    source = authority.source(CLIENT)
    with grpc_channel(source, address, authorize_id(SERVER)) as channel:
        stream = channel.unary_stream("/t/forever")(b"")
        assert next(stream) == b"begun"
        authority.rotate(server_source)
        began = time.monotonic()
        call = channel.unary_unary("/t/echo")
        # Before the first certificate ends, a call goes over another connection, to the new one.
        while len([peer for peer in live_peers() if peer.direction == "outbound"]) < 2:
            assert call(b"x", timeout=PATIENCE) == b"x"
            assert time.monotonic() - began < life.total_seconds()
        assert stream.is_active()
        stream.cancel()


def test_an_option_of_the_program_wins_over_ours(authority: MemoryAuthority, address: str) -> None:
    """gRPC takes the first of two options of one name."""
    source = authority.source(CLIENT)
    options = [("grpc.max_send_message_length", 4)]
    with grpc_channel(source, address, authorize_id(SERVER), options=options) as channel:
        call = channel.unary_unary("/t/echo")
        assert call(b"1234", timeout=PATIENCE) == b"1234"
        with pytest.raises(grpc.RpcError) as refused:
            call(b"12345", timeout=PATIENCE)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_certificates_that_callers_had_are_forgotten_when_they_have_expired(
    authority: MemoryAuthority, address: str
) -> None:
    def remembered() -> int:
        gc.collect()
        return sum(type(o).__name__ == "_Verified" for o in gc.get_objects())

    source, before = authority.source(CLIENT), remembered()
    with grpc_channel(source, address, authorize_id(SERVER)) as channel:
        call = channel.unary_unary("/t/echo")
        for ttl in (dt.timedelta(seconds=3), dt.timedelta(hours=1)):
            for _ in range(ROTATIONS):
                authority.rotate(source, ttl=ttl)
                assert call(b"x", timeout=PATIENCE) == b"x"
            if ttl < dt.timedelta(hours=1):
                end = source.snapshot().svids[0].leaf.not_valid_after_utc
                threading.Event().wait((end - dt.datetime.now(dt.UTC)).total_seconds() + 0.1)
        assert remembered() - before < 1.5 * ROTATIONS
