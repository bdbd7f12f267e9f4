"""Connections of refused peers are closed together, whatever becomes of one of them meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.context import client_context, server_context
from inborn._internal.verification.verify import authorize_any, authorize_id
from inborn.testing import MemoryAuthority

SERVER = "spiffe://example.org/server"
CLIENT = "spiffe://example.org/client"


class ForgetfulSSLTransport:
    """What asyncio's own becomes when its loop closes it while another thread looks at it."""

    def __init__(self, ssl_object: Any) -> None:
        self.ssl_object = ssl_object
        self.protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return self.protocol.get_extra_info(name)

    def abort(self) -> None:
        """Nothing is left to be aborted."""


async def test_transport_that_is_closed_meanwhile_does_not_keep_the_others_open(authority: MemoryAuthority) -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer)

    context = server_context(authority.source(SERVER), authorize_any())
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = client_context(authority.source(CLIENT), authorize_id(parse_spiffe_id(SERVER)))
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        serving = await accepted.get()
        forgetful = ForgetfulSSLTransport(serving.get_extra_info("ssl_object"))
        authority.revoke(CLIENT)
        async with asyncio.timeout(10):
            try:
                assert await reader.read() == b""
            except OSError:
                pass
        assert forgetful.ssl_object is not None
        writer.close()
        serving.close()
