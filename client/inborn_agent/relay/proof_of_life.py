"""Proof of life: the bytes on a connection come from the process that opened it.

Theory of operation. Being the one who called connect() is not enough: a process can connect, hand the descriptor to a
child and then exec() a program that somebody trusts, or pass it to another process. So the pinned process is made to
answer random bytes (`http2_proof`) while the kernel says of every chunk who wrote it. Until then nothing reaches the
server. That it still runs the same program is for the caller to compare, from before the question to after the answer
(`executable_id`).

From Linux 6.5 on the kernel hands out a pidfd of the writer (`SO_PASSPIDFD`). Before, there is the writer's number
(`SO_PASSCRED`), which is enough: the random bytes were made after the process was pinned, it lives when they have come
back, and while it lives its number is nobody else's. So the proof closes the gap that `pin_peer` has there as well.

What it cannot know: what a process does for others with a connection of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct

from inborn._internal.process.pinning import PinMode, PinnedProcess, ProcessGone, pid_of_pidfd
from inborn.errors import DeniedError
from inborn_agent.relay.http2_proof import Http2Proof

__all__ = ["ForeignBytes", "ask_for_writers", "prove_life"]

_SO_PASSPIDFD = 76  # asm-generic/socket.h; Python has no names for these two
_SCM_PIDFD = 4
_UCRED = struct.Struct("3i")
_INT = struct.Struct("i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_UCRED.size) + socket.CMSG_SPACE(_INT.size)
_CHUNK = 65536


class ForeignBytes(DeniedError):
    """Somebody else than the process that connected writes on the connection."""


def ask_for_writers(sock: socket.socket, mode: PinMode, *, on: bool = True) -> None:
    """Make the kernel say who wrote what is read from `sock`; a listener hands it on to what it accepts."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, int(on))
    if mode is PinMode.PEER_PIDFD:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, int(on))


async def prove_life(sock: socket.socket, process: PinnedProcess) -> bytes:
    """Make the pinned process prove that it holds `sock`; give what it sent meanwhile, for the server.

    `sock` is non-blocking. There is no deadline in here. Raises `ProcessGone`, `ForeignBytes`, `NotHttp2`.
    """
    ask_for_writers(sock, process.mode)
    proof = Http2Proof(secrets.token_bytes(8))
    pidfd = process.duplicate_pidfd()
    try:
        sock.send(proof.greeting)  # a fresh socket's buffer takes it whole
        while not proof.is_complete:
            proof.feed(await _receive(sock, process, pidfd))
    except OSError as error:
        raise ProcessGone(f"the caller hung up: {error.strerror}") from error
    finally:
        os.close(pidfd)
    if not process.is_alive():
        raise ProcessGone(f"process {process.pid} ended while it was asked")
    ask_for_writers(sock, process.mode, on=False)
    return proof.to_forward()


async def _receive(sock: socket.socket, process: PinnedProcess, pidfd: int) -> bytes:
    while process.is_alive():
        try:
            data, ancillary, flags, _ = sock.recvmsg(_CHUNK, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(sock, pidfd)
            continue
        writer = _writer(process, ancillary, is_cut=bool(flags & socket.MSG_CTRUNC))
        if not data:
            raise ProcessGone("the caller hung up before it answered")
        _require_pinned(process, writer)
        return data
    raise ProcessGone(f"process {process.pid} ended before it answered")


async def _readable(sock: socket.socket, pidfd: int) -> None:
    """Wait until there is something to read, or the process has ended (somebody else may hold its connection)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    loop.add_reader(pidfd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
        loop.remove_reader(pidfd)


def _writer(process: PinnedProcess, ancillary: list[tuple[int, int, bytes]], *, is_cut: bool) -> int | None:
    """Give the number of whoever wrote, by what the kernel says; close every descriptor that came along.

    It is counted as `_require_pinned` compares it; -1 for a process that has ended, None where nothing was said.
    """
    number = writer = None
    has_descriptors = False
    for level, kind, value in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            number = _UCRED.unpack(value[: _UCRED.size])[0]
        elif kind == _SCM_PIDFD:
            pidfd = _INT.unpack(value[: _INT.size])[0]
            writer = -1  # negative: the writer was gone when this was read
            if pidfd >= 0:
                try:
                    writer = pid_of_pidfd(pidfd, proc=process.proc)
                finally:
                    os.close(pidfd)
        elif kind == socket.SCM_RIGHTS:
            has_descriptors = True
            for (descriptor,) in _INT.iter_unpack(value[: len(value) - len(value) % _INT.size]):
                os.close(descriptor)
    if has_descriptors or is_cut:
        raise ForeignBytes("the caller sends descriptors along, which nobody asked for")
    return writer if process.mode is PinMode.PEER_PIDFD else number


def _require_pinned(process: PinnedProcess, writer: int | None) -> None:
    pinned = process.pid if process.mode is PinMode.PEER_PIDFD else process.peer_pid
    if writer == pinned:
        return
    if writer == -1 and not process.is_alive():
        raise ProcessGone(f"process {pinned} ended before its bytes were read")
    who = "a process that has ended" if writer == -1 else f"process {writer}"
    raise ForeignBytes(f"the connection was opened by process {pinned} and written on by {who}")
