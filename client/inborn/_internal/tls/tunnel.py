"""TLS for gRPC's client, which shows a program nothing of the server's certificate: gRPC dials a UNIX socket of ours,
and behind it we speak TLS with a context of our own.

The socket lies in a directory that only our user can enter, lets in our own process alone, and carries one connection
at a time: a further one ends the one before it. Everything runs on the background loop; a target is `host:port`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl

from inborn._internal.address import parse_target
from inborn._internal.host.socket_directory import SocketDirectory
from inborn._internal.process.peer_credentials import is_same_process
from inborn._internal.source.background import background_loop
from inborn._internal.tls.verified_socket import VerifiedObject
from inborn.errors import InbornError, UnavailableError

__all__ = ["Tunnel"]

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10.0  # seconds for TCP and TLS together: a lost SYN is sent three times in it
_USED_OF_A_LIFE = 2 / 3
"""How much of the peer's remaining life a connection is used for new calls: who renews at half of a life presents a new
certificate by then, and a call that begins at the last moment still has a third of it."""
_CHUNK = 64 * 1024  # bytes read at a time; also what each side buffers before it makes the other wait


class Tunnel:
    """One inner socket and the TLS connection behind it.

    `failure` is why the last connection came to nothing; `peer` the TLS object of the last one that was made. With
    `only_one` the tunnel ends with its first connection, so that two calls are known to have met the same server.
    """

    def __init__(self, target: str, context: ssl.SSLContext, *, only_one: bool = False) -> None:
        self._target = parse_target(target)
        self._context = context
        self._only_one = only_one
        self._closed = False
        self._used = False
        self._current: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        self.peer: ssl.SSLObject | None = None
        self.replace_at: dt.datetime | None = None
        """When new calls should take another connection, because the peer's certificate is about to end."""
        self._directory = SocketDirectory()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self._directory.path / "t"))
            self._listener.listen(4)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            self._directory.remove()
            raise
        self._loop = background_loop()
        self._loop.call_soon_threadsafe(self._listen)

    @property
    def address(self) -> str:
        """Where gRPC dials."""
        return f"unix:{self._directory.path}/t"

    def close(self) -> None:
        """End the connection and remove the socket. May be called from any thread, and more than once."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the loop was closed, as at the end of a process
            self._loop.call_soon_threadsafe(self._end)
        self._directory.remove()

    def _listen(self) -> None:
        """On the loop. By a callback: `sock_accept` loses a connection that comes while it is cancelled."""
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _end(self) -> None:
        """On the loop."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._current is not None:
            self._current.cancel()

    def _accept(self) -> None:
        """On the loop: somebody dials."""
        try:
            inner, _ = self._listener.accept()
        except OSError:  # whoever it was has gone
            return
        if not is_same_process(inner):
            log.warning("tunnel refused a stranger on its inner socket")
            inner.close()
            return
        if self._only_one and self._used:
            inner.close()
            return
        self._used = True
        if self._current is not None:
            self._current.cancel()
        self._current = self._loop.create_task(self._carry(inner))

    async def _carry(self, inner: socket.socket) -> None:
        """Connect to the target and pass bytes both ways until one side ends."""
        inner.setblocking(False)
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=inner, limit=_CHUNK)
        except OSError:
            inner.close()
            return
        outer_writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                outer_reader, outer_writer = await asyncio.open_connection(
                    self._target.host,
                    self._target.port,
                    ssl=self._context,
                    server_hostname=self._target.host,
                    limit=_CHUNK,
                )
            self._remember(outer_writer, inner_writer)
            pumps = [_pump(inner_reader, outer_writer), _pump(outer_reader, inner_writer)]
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(pump) for pump in pumps], return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        except (OSError, ssl.SSLError, TimeoutError) as e:
            is_news = str(e) != str(self.failure)
            self.failure = e
            if is_news:  # gRPC tries again and again
                log.warning("tunnel to %s failed reason=%s", self._target, self.reason())
        finally:
            for writer in (outer_writer, inner_writer):
                if writer is not None:
                    writer.transport.abort()
            if outer_writer is not None:
                ssl_object = outer_writer.get_extra_info("ssl_object")
                if isinstance(ssl_object, VerifiedObject):
                    ssl_object.has_ended()

    def _remember(self, outer: asyncio.StreamWriter, inner: asyncio.StreamWriter) -> None:
        ssl_object = outer.get_extra_info("ssl_object")
        self.failure, self.peer = None, ssl_object
        loop = background_loop()

        def refuse(reason: InbornError) -> None:
            self.failure = reason
            loop.call_soon_threadsafe(outer.transport.abort)
            loop.call_soon_threadsafe(inner.transport.abort)

        if isinstance(ssl_object, VerifiedObject):
            ssl_object.close_with(refuse)
            if ssl_object.svid is not None:
                now = dt.datetime.now(dt.UTC)
                self.replace_at = now + (ssl_object.svid.not_after - now) * _USED_OF_A_LIFE

    def reason(self) -> InbornError:
        """Why the last connection came to nothing, as an error of ours."""
        error = self.failure
        if isinstance(error, InbornError):
            return error
        if error is not None and isinstance(error.__cause__, InbornError):
            return error.__cause__
        if isinstance(error, TimeoutError):
            return UnavailableError(f"no connection to {self._target} within {_CONNECT_TIMEOUT:.0f} s")
        if isinstance(error, OSError):
            return UnavailableError(f"no connection to {self._target}: {error.strerror or error}")
        return UnavailableError(f"connection to {self._target} was closed")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on; `drain` makes a fast sender wait for a slow receiver."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
