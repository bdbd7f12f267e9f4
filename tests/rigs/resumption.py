"""A relay of bytes before a TLS 1.3 server that notes of each connection whether the server resumed a session.

The answer stands in the ServerHello, which is not encrypted: a server that resumes names the pre-shared key that it
takes (RFC 8446 4.2.11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from inborn._internal.address import Address

PRE_SHARED_KEY = 41
RECORD_HEADER, HANDSHAKE_HEADER = 5, 4
BEFORE_SESSION_ID = HANDSHAKE_HEADER + 2 + 32  # version, random


@asynccontextmanager
async def watched(server: Address) -> AsyncIterator[tuple[Address, list[bool]]]:
    """The address to connect to instead, and what was seen so far: whether each connection was resumed."""
    resumed: list[bool] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(server.host, server.port)
        with suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, inner_writer))
                header = await inner_reader.readexactly(RECORD_HEADER)
                hello = await inner_reader.readexactly(int.from_bytes(header[3:5]))
                resumed.append(PRE_SHARED_KEY in extensions(hello))
                writer.write(header + hello)
                await copy(inner_reader, writer)

    front = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", front.sockets[0].getsockname()[1]), resumed
    finally:
        front.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def extensions(hello: bytes) -> list[int]:
    """The kinds of a ServerHello's extensions."""
    at = BEFORE_SESSION_ID + 1 + hello[BEFORE_SESSION_ID] + 3  # session ID, cipher suite, compression
    end = at + 2 + int.from_bytes(hello[at : at + 2])
    at += 2
    kinds = []
    while at < end:
        kinds.append(int.from_bytes(hello[at : at + 2]))
        at += 4 + int.from_bytes(hello[at + 2 : at + 4])
    return kinds
