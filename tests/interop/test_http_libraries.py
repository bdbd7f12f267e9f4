"""HTTP libraries and servers of others over our contexts, each against each, with identities from a real CA."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.context import client_context, server_context
from inborn._internal.verification.verify import Authorizer, authorize_id
from inborn.requests_adapter import requests_adapter
from inborn.uvicorn_adapter import uvicorn_options
from tests.interop.rig import System, outlive
from tests.rigs.fixtures_up import Only, spiffe_id, wait_for_paths

aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp")
httpx = pytest.importorskip("httpx", reason="needs httpx")
requests = pytest.importorskip("requests", reason="needs requests")
uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn")

SERVER, CLIENT, STRANGER = "/http/server", "/http/client", "/http/stranger"

# What a program sees of a peer that refuses it or that it refuses itself: each library has its own words.
REFUSED = (OSError, EOFError, httpx.TransportError, aiohttp.ClientError)

Ask = Callable[[str], Awaitable[str]]


def only(path: str) -> Authorizer:
    return authorize_id(parse_spiffe_id(spiffe_id(path)))


# -- servers: all say who calls ----------------------------------------------------------------------------------------


@asynccontextmanager
async def uvicorn_server(source: IdentitySource) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(scope["extensions"]["tls"]["spiffe_id"]).encode()})

    options = uvicorn_options(source, only(CLIENT))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical", **options)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    running = asyncio.create_task(server.main_loop())
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running
    await server.shutdown()


@asynccontextmanager
async def aiohttp_server(source: IdentitySource) -> AsyncIterator[int]:
    from aiohttp import web

    async def hello(request: Any) -> Any:
        return web.Response(text=str(request.transport.get_extra_info("ssl_object").spiffe_id))

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(source, only(CLIENT)))
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def streams_server(source: IdentitySource) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            peer = writer.get_extra_info("ssl_object").spiffe_id
            writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{peer}".encode())
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(source, only(CLIENT)))
    async with server:
        yield server.sockets[0].getsockname()[1]


# -- clients: each keeps its connections, as far as it does by itself --------------------------------------------------


@asynccontextmanager
async def httpx_client(source: IdentitySource, authorize: Authorizer) -> AsyncIterator[Ask]:
    with httpx.Client(verify=client_context(source, authorize), trust_env=False) as client:

        async def ask(url: str) -> str:
            return str((await asyncio.to_thread(client.get, url)).text)

        yield ask


@asynccontextmanager
async def httpx_async_client(source: IdentitySource, authorize: Authorizer) -> AsyncIterator[Ask]:
    async with httpx.AsyncClient(verify=client_context(source, authorize), trust_env=False) as client:

        async def ask(url: str) -> str:
            return str((await client.get(url)).text)

        yield ask


@asynccontextmanager
async def requests_client(source: IdentitySource, authorize: Authorizer) -> AsyncIterator[Ask]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", requests_adapter(source, authorize))

        async def ask(url: str) -> str:
            return str((await asyncio.to_thread(session.get, url, timeout=20)).text)

        yield ask


@asynccontextmanager
async def aiohttp_client(source: IdentitySource, authorize: Authorizer) -> AsyncIterator[Ask]:
    connector = aiohttp.TCPConnector(ssl=client_context(source, authorize))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(url: str) -> str:
            async with session.get(url) as response:
                return str(await response.text())

        yield ask


@asynccontextmanager
async def streams_client(source: IdentitySource, authorize: Authorizer) -> AsyncIterator[Ask]:
    context: ssl.SSLContext = client_context(source, authorize)

    async def ask(url: str) -> str:
        parsed = httpx.URL(url)
        reader, writer = await asyncio.open_connection(parsed.host, parsed.port, ssl=context)
        try:
            writer.write(f"GET / HTTP/1.0\r\nHost: {parsed.host}\r\n\r\n".encode())  # 1.0: the body ends with the end
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            return (await reader.read()).decode()
        finally:
            writer.close()

    yield ask


SERVERS = {"uvicorn": uvicorn_server, "aiohttp": aiohttp_server, "streams": streams_server}
CLIENTS: dict[str, Callable[[IdentitySource, Authorizer], AbstractAsyncContextManager[Ask]]] = {
    "httpx": httpx_client,
    "httpx-async": httpx_async_client,
    "requests": requests_client,
    "aiohttp": aiohttp_client,
    "streams": streams_client,
}


@pytest.fixture
def source(system: System) -> Iterator[X509Source]:
    for path in (SERVER, CLIENT, STRANGER):
        system.entry(path, ttl_seconds=3)
    with system.machine.source() as source:
        wait_for_paths(source, SERVER, CLIENT, STRANGER)
        yield source


@asynccontextmanager
async def all_servers(source: X509Source) -> AsyncIterator[dict[str, str]]:
    """Name -> URL."""
    async with AsyncExitStack() as stack:
        ports = {
            name: await stack.enter_async_context(server(Only(source, SERVER))) for name, server in SERVERS.items()
        }
        yield {name: f"https://127.0.0.1:{port}/" for name, port in ports.items()}


@pytest.mark.parametrize("name", CLIENTS)
async def test_each_library_talks_to_each_server_and_neither_to_a_stranger(source: X509Source, name: str) -> None:
    client = CLIENTS[name]
    async with all_servers(source) as urls:
        async with (
            client(Only(source, CLIENT), only(SERVER)) as known,
            client(Only(source, STRANGER), only(SERVER)) as stranger,
            client(Only(source, CLIENT), only(STRANGER)) as picky,
        ):
            for url in urls.values():
                assert await known(url) == spiffe_id(CLIENT)
                with pytest.raises(REFUSED):
                    await stranger(url)
                with pytest.raises(REFUSED):
                    await picky(url)


async def test_every_library_goes_on_across_rotations_with_the_session_that_it_has(source: X509Source) -> None:
    async with all_servers(source) as urls, AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(client(Only(source, CLIENT), only(SERVER)))
            for name, client in CLIENTS.items()
        }
        for is_first in (True, False):
            answers = {(c, s): await ask(url) for c, ask in clients.items() for s, url in urls.items()}
            assert set(answers.values()) == {spiffe_id(CLIENT)}
            if is_first:
                waits = (asyncio.to_thread(outlive, Only(source, path)) for path in (SERVER, CLIENT))
                await asyncio.gather(*waits)
