"""The relay: everybody may connect to it, and the Workload API behind it knows who each connection is.

Theory of operation. gRPC's Python server does not show its sockets. So the relay accepts in its place, and takes each
connection through four steps: *pin* the process that connected, have it *prove* that it is the one that writes,
*attest* it, and only then *relay* bytes to the private gRPC socket. Towards that one the relay's end is bound to a
path of its own, which is what gRPC then gives as `context.peer()`; `Relay.connection` turns it back into the pinned
process and its evidence. A caller that fails a step is hung up on; `on_denied` and the log say why.

A connection ends when either side ends it, and when the pinned process ends, whoever else may hold its descriptor.

Whoever may enter the private directory can speak to the gRPC server past the relay; it has no `RelayedConnection` then,
and `Relay.connection` refuses it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
import stat
import urllib.parse
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from inborn._internal.process.pinning import PinMode, PinnedProcess, peer_ids, pin_peer, pin_pid, supported_pin_mode
from inborn.errors import DeniedError, InbornError, RequestError, UnavailableError
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.attest.liveness import wait_exit
from inborn_agent.relay.denials import Denial, DenialLog
from inborn_agent.relay.proof_of_life import ask_for_writers, prove_life
from inborn_agent.relay.public_socket import PublicSocket
from inborn_agent.relay.relay_limits import RelayAdmission, RelayLimits
from inborn_agent.relay.relayed_connection import RelayedConnection

__all__ = ["Relay", "TooSlow", "UnknownConnection"]

_log = logging.getLogger(__name__)

# What may lie in this process between one side and the other: a side that does not read holds up the other side and
# takes no more memory than this.
CHUNK_BYTES = 65536

# Connections accepted in one round of the event loop, so that a flood leaves room for those who are connected.
ACCEPTS_IN_ONE_ROUND = 64

# How long to leave the queue alone when the process or the machine has no descriptors left.
PAUSE = 0.1


class UnknownConnection(DeniedError):
    """The peer of a call did not come through the relay, or is gone."""


class TooSlow(DeniedError):
    """The caller, or what was to be read about it, did not keep to a deadline."""


class Relay:
    """Accepts on `listen_path` and relays to the gRPC server that listens on `inner_path`.

    The directory of `inner_path` belongs to this user and is closed to others (0700). `on_connection` is called with
    every connection before its first byte reaches the server; `on_denied` with every caller that was turned away.
    `proc` is where the host's procfs is mounted. `mode` is for tests: what the kernel is asked for.
    """

    def __init__(
        self,
        listen_path: str,
        inner_path: str,
        attestor: WorkloadAttestors,
        *,
        limits: RelayLimits | None = None,
        on_connection: Callable[[RelayedConnection], None] | None = None,
        on_denied: Callable[[Denial], None] | None = None,
        proc: str = "/proc",
        mode: PinMode | None = None,
    ) -> None:
        self._listen_path = listen_path
        self._inner_path = os.path.abspath(inner_path)
        self._inner_directory = os.path.dirname(self._inner_path)
        self._attestor = attestor
        self._limits = limits or RelayLimits()
        self.on_connection = on_connection
        self.on_denied = on_denied
        self._proc = proc
        self.mode = mode or supported_pin_mode()
        self.denials = DenialLog()
        self._admission = RelayAdmission(self._limits)
        self._connections: dict[str, RelayedConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._public: PublicSocket | None = None
        self._pause: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to accept. Raises `RequestError`, `SocketInUse` or `UnavailableError` if it cannot.

        `NotProcfs` and `PeerUnsupported` are among the last: with a `proc` that does not show this process nobody could
        be pinned.
        """
        _require_private(self._inner_directory)
        pin_pid(os.getpid(), proc=self._proc).close()
        self._limits = self._limits.fitted_to_descriptors()
        self._admission = RelayAdmission(self._limits)
        self._public = PublicSocket(self._listen_path)
        ask_for_writers(self._public.socket, self.mode)
        asyncio.get_running_loop().add_reader(self._public.socket, self._accept)

    async def close(self) -> None:
        """Stop accepting, end every connection, remove the socket."""
        if self._public is not None:
            if self._pause is not None:
                self._pause.cancel()
            asyncio.get_running_loop().remove_reader(self._public.socket)
            self._public.close()
            self._public = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> tuple[RelayedConnection, ...]:
        """Those that are relayed now."""
        return tuple(self._connections.values())

    def connection(self, peer: str) -> RelayedConnection:
        """Say who is behind a call, from gRPC's `context.peer()`. Raises `UnknownConnection`."""
        connection = self._connections.get(urllib.parse.unquote(peer))
        if connection is None:
            raise UnknownConnection("the call did not come through the relay, or its connection is gone")
        return connection

    def _accept(self) -> None:
        if self._public is None:
            return
        for _ in range(ACCEPTS_IN_ONE_ROUND):
            try:
                client, _address = self._public.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("accept failed: %s; next attempt in %g s", errno.errorcode.get(error.errno or 0), PAUSE)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._public.socket)
                self._pause = loop.call_later(PAUSE, loop.add_reader, self._public.socket, self._accept)
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        """Count the caller and pin it, at once: every moment between connect() and this one is a moment to vanish."""
        client.setblocking(False)
        uid = -1
        try:
            uid, _gid = peer_ids(client)
            with self._admission.ticket(uid) as ticket:
                process = pin_peer(client, proc=self._proc, mode=self.mode)
                ticket.keep()
        except InbornError as error:
            client.close()
            self._deny(error, uid)
            return
        task = asyncio.get_running_loop().create_task(self._serve(client, process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket, process: PinnedProcess) -> None:
        is_proven = False
        try:
            async with _deadline(self._limits.proof, "prove to be there"):
                executable = await self._attestor.executable_id(process)
                first_bytes = await prove_life(client, process)
            self._admission.proven(process.uid)
            is_proven = True
            connection = RelayedConnection(process, executable, self._attestor)
            async with _deadline(self._limits.attestation, "be attested"):
                await connection.attest_again()
            await self._relay(client, connection, first_bytes)
        except InbornError as error:
            self._deny(error, process.uid, process.pid)
        except OSError as error:
            self._deny(UnavailableError(f"out of resources: {error.strerror}"), process.uid, process.pid)
        except Exception:
            _log.exception("connection of process %d ended by an error of ours", process.pid)
        finally:
            client.close()
            process.close()
            self._admission.left(process.uid, was_proven=is_proven)

    async def _relay(self, client: socket.socket, connection: RelayedConnection, first_bytes: bytes) -> None:
        inner, name = await self._dial()
        connection.name = name
        self._connections[name] = connection
        try:
            if self.on_connection is not None:
                self.on_connection(connection)
            # The caller's end of stream alone ends nothing: the server's answer may be under way.
            async with _cancelled_at_exit(_pump(client, inner, first_bytes)):
                await _first_of(wait_exit(connection.process), connection.closing.wait(), _pump(inner, client))
        finally:
            del self._connections[name]
            inner.close()
            connection.closed.set()

    async def _dial(self) -> tuple[socket.socket, str]:
        """Connect to the gRPC server from a socket with a name that no connection had before."""
        path = os.path.join(self._inner_directory, f"c{next(self._numbers)}")
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if os.path.lexists(path):
                os.unlink(path)  # of a relay that was killed
            inner.bind(path)
            try:
                await self._connect(inner)
            finally:
                os.unlink(path)  # the name stays with the socket
        except OSError as error:
            inner.close()
            raise UnavailableError(f"the Workload API's server does not answer: {error.strerror}") from error
        except BaseException:
            inner.close()
            raise
        return inner, f"unix:{path}"

    async def _connect(self, inner: socket.socket) -> None:
        # A UNIX socket connects at once or not at all: EAGAIN means that the server's queue is full.
        async with _deadline(self._limits.proof, "reach the Workload API's server"):
            while True:
                try:
                    inner.connect(self._inner_path)
                    return
                except BlockingIOError:
                    await asyncio.sleep(PAUSE)

    def _deny(self, error: InbornError, uid: int, pid: int | None = None) -> None:
        denial = Denial(kind=error.kind, message=error.message, uid=uid, pid=pid)
        if (line := self.denials.record(denial, datetime.now(UTC))) is not None:
            _log.info("%s", line)
        if self.on_denied is not None:
            self.on_denied(denial)


async def _pump(source: socket.socket, sink: socket.socket, first_bytes: bytes = b"") -> None:
    """Move bytes until `source` ends, one chunk at a time, and hand its end on."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sink, first_bytes)
        while data := await loop.sock_recv(source, CHUNK_BYTES):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side hung up; the other direction notices it as well


async def _first_of(*waits: Coroutine[object, object, object]) -> None:
    """Return when one of `waits` has, and end the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _cancelled_at_exit(work: Coroutine[object, object, object]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _deadline(limit: timedelta, purpose: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except TimeoutError as error:
        raise TooSlow(f"it took longer than {limit.total_seconds():g} s to {purpose}") from error


def _require_private(directory: str) -> None:
    try:
        found = os.lstat(directory)
    except OSError as error:
        raise UnavailableError(f"the relay's private directory {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise RequestError(
            f"the relay's private directory {directory} is open to others",
            hint=f"make it with mode 0700 and owner {os.geteuid()}",
        )
