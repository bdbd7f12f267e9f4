"""A small HTTP/1.1 server for small read-only services, over TCP or a UNIX socket (asyncio).

The CA's port for CRLs, the ports for metrics and the socket for nginx's `auth_request` each give it one handler.

Each limit is there against a stranger who opens much and reads slowly: connections in all and of one address, the
time for a head, for the pause between requests and for taking an answer, and the requests of one connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections import Counter
from http import HTTPStatus
from pathlib import Path

from inborn._internal.host.paths import MAX_SOCKET_PATH
from inborn._internal.http.conversation import HttpConversation
from inborn._internal.http.exchange import HttpHandler, HttpLimits, HttpRefused, HttpResponse
from inborn.errors import InternalError, RequestError

__all__ = ["HttpServer"]

log = logging.getLogger(__name__)

MAX_REQUESTS = 10_000  # on one connection: what leaks for each would be gone then
_BACKLOG = 128


class HttpServer:
    """Serves one handler. Belongs to the loop that it was opened on."""

    def __init__(self, handler: HttpHandler, limits: HttpLimits) -> None:
        self._handler = handler
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open_tcp(self, host: str, port: int) -> int:
        """Listen on one address of this machine, and return the port: 0 asks for any free one. Raises `OSError`."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=self._limits.head, backlog=_BACKLOG)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def open_unix(self, path: Path, *, mode: int, uid: int = -1, gid: int = -1) -> None:
        """Listen on a UNIX socket that is in its place with its mode and owner at once. Raises `OSError`, and
        `RequestError` for a path that is too long."""
        partial = path.with_name(f".{secrets.token_hex(4)}.sock")
        for each in (path, partial):
            if len(os.fsencode(each)) > MAX_SOCKET_PATH:
                raise RequestError(f"path of a socket is longer than {MAX_SOCKET_PATH} bytes: {path}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)
            # The socket is made under a name that nobody waits for. Nobody can connect to it before it listens.
            sock.bind(os.fspath(partial))
            try:
                os.chown(partial, uid, gid)
                os.chmod(partial, mode)
                self._server = await asyncio.start_unix_server(
                    self._accept, sock=sock, limit=self._limits.head, backlog=_BACKLOG
                )
                os.replace(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        except BaseException:
            if self._server is not None:
                self._server.close()
            sock.close()
            raise

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- one connection ------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        task = asyncio.current_task()
        if (
            task is None
            or self._open.total() >= self._limits.connections
            or self._open[address] >= self._limits.per_address
        ):
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._open[address] += 1
        try:
            await self._serve(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # it has gone, or does not speak
        except asyncio.CancelledError:
            pass  # the server closes; whoever runs us waits for this task alone
        finally:
            self._tasks.discard(task)
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # it has had its time
            else:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = HttpConversation(self._limits.head)
        for number in range(1, MAX_REQUESTS + 1):
            try:
                head = await self._read_head(reader, self._limits.idle_time if number > 1 else self._limits.head_time)
                request = conversation.read(head)
            except asyncio.LimitOverrunError:
                await self._send(writer, conversation.write(_refusal(431), is_last=True), is_last=True)
                return
            except HttpRefused as e:
                await self._send(writer, conversation.write(_refusal(e.code), is_last=True), is_last=True)
                return
            try:
                response = await self._handler(request)
            except Exception:
                log.exception("http handler failed path=%s", request.path)
                response = _refusal(500)
            try:
                answer = conversation.write(response, is_last=number == MAX_REQUESTS)
            except InternalError:
                log.exception("http answer cannot be sent path=%s", request.path)
                return
            await self._send(writer, answer, is_last=conversation.is_over)
            if conversation.is_over:
                return

    async def _read_head(self, reader: asyncio.StreamReader, patience: float) -> bytes:
        async with asyncio.timeout(patience):
            first = await reader.readexactly(1)
        async with asyncio.timeout(self._limits.head_time):
            return first + await reader.readuntil(b"\r\n\r\n")

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes, *, is_last: bool) -> None:
        writer.write(answer)
        async with asyncio.timeout(self._limits.send_time):
            await writer.drain()
            # A transport that is closed with bytes in its buffer sends them for as long as it takes: not here.
            if is_last:
                writer.transport.set_write_buffer_limits(0)
                await writer.drain()


def _refusal(code: int) -> HttpResponse:
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    if code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers += (("Allow", "GET, HEAD"),)
    return HttpResponse(code=code, body=f"{HTTPStatus(code).phrase}\n".encode(), headers=headers)
