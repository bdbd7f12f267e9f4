"""A small HTTP/1.1 server for small read-only services, over TCP or a UNIX socket (asyncio).

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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from inborn._internal.host.paths import MAX_SOCKET_PATH
from inborn._internal.http.http_request import MAX_HEAD, HttpRefused, HttpRequest, parse_head
from inborn.errors import RequestError

__all__ = ["HttpHandler", "HttpLimits", "HttpResponse", "HttpServer"]

log = logging.getLogger(__name__)

MAX_REQUESTS = 10_000  # on one connection: what leaks for each would be gone then
_BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """An answer; to HEAD the body's length is told and the body is not sent."""

    code: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one server allows; times in seconds."""

    connections: int
    per_address: int
    """Of one address; those of a UNIX socket have one together."""
    head_time: float = 10.0
    """For the first request to begin, and from the first octet of a head to its last."""
    idle_time: float = 75.0
    """Between two requests: longer than nginx keeps an idle connection to a server (60)."""
    send_time: float = 60.0
    """To take an answer: a list of 100,000 certificates (3.5 MB) over a slow line."""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Answers a request. It must not block; what it raises becomes 500."""


class HttpServer:
    """Serves one handler. Belongs to the loop that it was opened on."""

    def __init__(self, handler: HttpHandler, limits: HttpLimits) -> None:
        self._handler = handler
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open_tcp(self, host: str, port: int) -> None:
        """Listen on one address of this machine. Raises `OSError`."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD, backlog=_BACKLOG)

    async def open_unix(self, path: Path, *, mode: int, uid: int = -1, gid: int = -1) -> None:
        """Listen on a UNIX socket that is in its place with its mode and owner at once. Raises `OSError`, and
        `RequestError` for a path that is too long."""
        partial = path.with_name(f".{secrets.token_hex(4)}.sock")
        for each in (path, partial):
            if len(os.fsencode(each)) > MAX_SOCKET_PATH:
                raise RequestError(f"path of a socket is longer than {MAX_SOCKET_PATH} octets: {path}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)
            # The socket is made under a name that nobody waits for. Nobody can connect to it before it listens.
            sock.bind(os.fspath(partial))
            try:
                os.chown(partial, uid, gid)
                os.chmod(partial, mode)
                self._server = await asyncio.start_unix_server(
                    self._accept, sock=sock, limit=MAX_HEAD, backlog=_BACKLOG
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
        for number in range(MAX_REQUESTS):
            try:
                head = await self._read_head(reader, self._limits.idle_time if number else self._limits.head_time)
                request = parse_head(head)
            except asyncio.LimitOverrunError:
                await self._send(writer, _refusal(431), is_last=True, has_body=True)
                return
            except HttpRefused as e:
                await self._send(writer, _refusal(e.code), is_last=True, has_body=True)
                return
            try:
                response = await self._handler(request)
            except Exception:
                log.exception("http handler failed path=%s", request.path)
                response = _refusal(500)
            await self._send(writer, response, is_last=not request.keep_alive, has_body=request.method == "GET")
            if not request.keep_alive:
                return

    async def _read_head(self, reader: asyncio.StreamReader, patience: float) -> bytes:
        async with asyncio.timeout(patience):
            first = await reader.readexactly(1)
        async with asyncio.timeout(self._limits.head_time):
            return first + await reader.readuntil(b"\r\n\r\n")

    async def _send(
        self, writer: asyncio.StreamWriter, response: HttpResponse, *, is_last: bool, has_body: bool
    ) -> None:
        phrase = HTTPStatus(response.code).phrase
        lines = [f"HTTP/1.1 {response.code} {phrase}", *(f"{name}: {value}" for name, value in response.headers)]
        if response.code not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            lines.append(f"Content-Length: {len(response.body)}")
        lines.append(f"Connection: {'close' if is_last else 'keep-alive'}")
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (response.body if has_body else b""))
        async with asyncio.timeout(self._limits.send_time):
            await writer.drain()
            # A transport that is closed with octets in its buffer sends them for as long as it takes: not here.
            if is_last:
                writer.transport.set_write_buffer_limits(0)
                await writer.drain()


def _refusal(code: int) -> HttpResponse:
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    if code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers += (("Allow", "GET, HEAD"),)
    return HttpResponse(code=code, body=f"{HTTPStatus(code).phrase}\n".encode(), headers=headers)
