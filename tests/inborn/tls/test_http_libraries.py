"""HTTP libraries of others over the library's contexts, with nothing between."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.context import client_context
from inborn._internal.tls.verified_socket import PeerRefused
from inborn._internal.verification.verify import authorize_any, authorize_id
from inborn.requests_adapter import requests_adapter
from inborn.testing import MemoryAuthority
from inborn.uvicorn_adapter import uvicorn_options

httpx = pytest.importorskip("httpx", reason="needs httpx")
aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp")
requests = pytest.importorskip("requests", reason="needs requests")
uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn")

SERVER = "spiffe://example.org/server"
CLIENT = "spiffe://example.org/client"
OTHER = "spiffe://example.org/other"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(scope["extensions"]["tls"]["spiffe_id"]).encode()})


@pytest.fixture
def url(authority: MemoryAuthority) -> Iterator[str]:
    options = uvicorn_options(authority.source(SERVER), authorize_any())
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical", **options)
    server = uvicorn.Server(config)
    ready: list[int] = []
    started = threading.Event()

    async def serve() -> None:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        ready.append(server.servers[0].sockets[0].getsockname()[1])
        started.set()
        await server.main_loop()
        await server.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield f"https://127.0.0.1:{ready[0]}/"
    server.should_exit = True
    thread.join(10)


def context(authority: MemoryAuthority, server: str = SERVER) -> ssl.SSLContext:
    return client_context(authority.source(CLIENT), authorize_id(parse_spiffe_id(server)))


def test_httpx_and_uvicorn(authority: MemoryAuthority, url: str) -> None:
    with httpx.Client(verify=context(authority)) as client:
        assert client.get(url).text == CLIENT
    with httpx.Client(verify=context(authority, OTHER)) as client, pytest.raises(httpx.ConnectError):
        client.get(url)


async def test_httpx_over_asyncio(authority: MemoryAuthority, url: str) -> None:
    async with httpx.AsyncClient(verify=context(authority)) as client:
        assert (await client.get(url)).text == CLIENT
        authority.revoke(SERVER)
        with pytest.raises((httpx.TransportError, PeerRefused)):  # httpx passes errors of a kept connection on
            await client.get(url)


async def test_aiohttp(authority: MemoryAuthority, url: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(url, ssl=context(authority)) as response:
            assert await response.text() == CLIENT
        with pytest.raises(aiohttp.ClientError):
            await session.get(url, ssl=context(authority, OTHER))


def test_requests(authority: MemoryAuthority, url: str) -> None:
    for server, is_in in ((SERVER, True), (OTHER, False)):
        with requests.Session() as session:
            session.mount("https://", requests_adapter(authority.source(CLIENT), authorize_id(parse_spiffe_id(server))))
            for options in ({}, {"verify": False}):
                if is_in:
                    assert session.get(url, timeout=5, **options).text == CLIENT
                else:
                    with pytest.raises(requests.exceptions.SSLError):
                        session.get(url, timeout=5, **options)


def test_revoked_client_is_cut_off_from_its_kept_connection(authority: MemoryAuthority, url: str) -> None:
    with httpx.Client(verify=context(authority)) as client:
        assert client.get(url).text == CLIENT
        authority.revoke(CLIENT)
        with pytest.raises(httpx.TransportError):
            client.get(url)
