"""Strangers who open much at the bootstrap port: nobody asks them for a certificate there."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from inborn._internal.address import Address
from inborn._internal.tls.context import unsafe_unverified_context
from inborn_proto import ca_pb2
from tests.rigs.front_rig import Rig, running_ca

FILES = 1600  # open files that this process may have: a quarter of them is for connections of joiners
PATIENCE = 4.0  # seconds: well before handshakes that do not begin are given up


@pytest.fixture
def few_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def handshake(address: Address) -> None:
    context = unsafe_unverified_context(["h2"])
    _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, address.port, ssl=context), PATIENCE)
    writer.transport.abort()


async def is_hung_up(sock: socket.socket) -> bool:
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), PATIENCE) == b""
    except ConnectionResetError:
        return True


async def test_silent_connections_of_joiners_leave_the_api_port_alone(tmp_path: Path, few_files: None) -> None:
    async with running_ca(tmp_path) as rig:
        address = rig.settings.bootstrap
        held = [socket.create_connection((address.host, address.port)) for _ in range(FILES // 4)]
        try:
            await handshake(rig.settings.api)
            late = [socket.create_connection((address.host, address.port)) for _ in range(20)]
            held += late
            for sock in late:
                sock.setblocking(False)
                assert await is_hung_up(sock)
        finally:
            for sock in held:
                sock.close()
        await bundle(rig)


async def test_large_message_of_a_stranger_is_refused_before_it_has_come(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        call: Any = rig.channel(rig.settings.bootstrap).unary_unary("/inborn.v1.Bootstrap/Enroll")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\0" * 40_000, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await bundle(rig)


async def bundle(rig: Rig) -> None:
    answer = await rig.bootstrap().unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=20)
    assert answer.roots
