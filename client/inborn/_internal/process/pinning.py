"""Pin a process: the one behind a UNIX socket, or one named by its number. Linux only.

Theory of operation. A process number is not a process: it is used again when its process has ended. So the number that
the kernel gives is turned at once into two descriptors that stay with one process for ever, a pidfd and the process's
directory below /proc, and everything read later goes through them. A pidfd becomes readable when its process has
ended: while it is not, the directory is that of the living process, because its number cannot have been used again.

From Linux 6.5 on the kernel itself hands out the pidfd of whoever called connect() (`SO_PEERPIDFD`). Before that
there is only the number (`SO_PEERCRED`), and a gap remains between connect() and `pin_peer`: whoever connects, hands
the socket to a child and ends can be mistaken for a process of the same user that was then given its number.
`PinnedProcess.mode` says which of the two was done. The gap closes again where the pinned process is made to write
something that only it could have read, as the agent does.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time

from inborn._internal.process.peer_credentials import PeerCredentials, peer_credentials
from inborn._internal.process.pinned_process import (
    FactUnreadable,
    IdentityChanged,
    PeerUnsupported,
    PinMode,
    PinnedProcess,
    ProcessGone,
)
from inborn._internal.process.procfs import open_below
from inborn.errors import InternalError, NotFoundError, UnavailableError

__all__ = [
    "FactUnreadable",
    "IdentityChanged",
    "PeerUnsupported",
    "PinMode",
    "PinnedProcess",
    "ProcessGone",
    "peer_ids",
    "pid_of_pidfd",
    "pin_peer",
    "pin_pid",
    "require_started_by",
    "supported_pin_mode",
]

_SO_PEERPIDFD = 77  # asm-generic/socket.h; Python has no name for it
_INT = struct.Struct("i")


def peer_ids(sock: socket.socket) -> tuple[int, int]:
    """Say which effective uid and gid called connect() on the other end of `sock`. Says nothing about a process."""
    _require_linux()
    peer = _peer_credentials(sock)
    return peer.uid, peer.gid


def pin_peer(sock: socket.socket, *, proc: str = "/proc", mode: PinMode | None = None) -> PinnedProcess:
    """Pin the process that called connect() on the other end of `sock`, a UNIX stream socket.

    `mode` is for tests and for `doctor`; by default the best that the kernel has. Refused with `ProcessGone` if the
    process has ended or is not to be seen through `proc`, and with `IdentityChanged` if it no longer runs as the user
    and group it connected as. Not checked: that the connection is still in that process's hands.
    """
    _require_linux()
    entered = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    credentials = _peer_credentials(sock)
    number, uid, gid = credentials.pid, credentials.uid, credentials.gid
    mode = mode or supported_pin_mode()
    if mode is PinMode.PEER_PIDFD:
        pidfd = _peer_pidfd(sock)
    else:
        pidfd = _open_pidfd(number)
    process = _pin(pidfd, peer_pid=number, uid=uid, gid=gid, proc=proc, mode=mode)
    try:
        if mode is PinMode.PIDFD_OPEN:
            require_started_by(process, entered)
            if _peer_credentials(sock) != credentials:
                raise ProcessGone(f"the peer of the connection is no longer process {number}")
        runs_as = _effective_ids(process)
        if runs_as != (uid, gid):
            raise IdentityChanged(
                f"process {process.pid} connected as uid {uid} gid {gid} and runs as uid {runs_as[0]} gid {runs_as[1]}",
                hint="connect after the change of user",
            )
    except BaseException:
        process.close()
        raise
    return process


def pin_pid(pid: int, *, proc: str = "/proc") -> PinnedProcess:
    """Pin the process that has the number `pid` now, in this process's own PID namespace.

    Not checked: that it is the one that the caller thought of. Raises `NotFoundError` if there is none.
    """
    _require_linux()
    try:
        pidfd = _open_pidfd(pid)
    except ProcessGone as error:
        raise NotFoundError(f"there is no process {pid}") from error
    process = _pin(pidfd, peer_pid=pid, uid=-1, gid=-1, proc=proc, mode=PinMode.PIDFD_OPEN)
    try:
        process.uid, process.gid = _effective_ids(process)
    except BaseException:
        process.close()
        raise
    return process


_probed: PinMode | None = None


def supported_pin_mode() -> PinMode:
    """Say what this kernel offers; asked once."""
    global _probed
    _require_linux()
    if _probed is None:
        left, right = socket.socketpair(socket.AF_UNIX)
        with left, right:
            try:
                os.close(_INT.unpack(left.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, _INT.size))[0])
                _probed = PinMode.PEER_PIDFD
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise InternalError(f"SO_PEERPIDFD: {error.strerror}") from error
                _probed = PinMode.PIDFD_OPEN
    return _probed


def _require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise PeerUnsupported(
            f"processes are attested on Linux only, this is {sys.platform}", hint="run the agent on Linux"
        )


def _peer_credentials(sock: socket.socket) -> PeerCredentials:
    try:
        return peer_credentials(sock)
    except OSError as error:
        raise ProcessGone(f"no peer: {error.strerror}") from error


def _peer_pidfd(sock: socket.socket) -> int:
    try:
        return int(_INT.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, _INT.size))[0])
    except OSError as error:
        # A peer that was waited for already: EINVAL or ESRCH up to Linux 6.15, a dead pidfd afterwards. ENODATA: the
        # socket was never connected by a process.
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENODATA):
            raise ProcessGone("the caller ended before it was pinned") from error
        raise UnavailableError(f"the caller cannot be pinned: {error.strerror}") from error


def _open_pidfd(number: int) -> int:
    if number <= 0:
        raise ProcessGone(f"the caller is not in this PID namespace (its number here is {number})")
    try:
        return os.pidfd_open(number)
    except ProcessLookupError as error:
        raise ProcessGone(f"process {number} ended before it was pinned") from error
    except OverflowError as error:
        raise ProcessGone(f"{number} is not the number of a process") from error
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            raise PeerUnsupported("this kernel has no pidfd_open", hint="Linux 5.3 or later is needed") from error
        if error.errno == errno.EINVAL:
            raise ProcessGone(f"{number} is not the number of a process") from error
        raise UnavailableError(f"process {number} cannot be pinned: {error.strerror}") from error


def _pin(pidfd: int, *, peer_pid: int, uid: int, gid: int, proc: str, mode: PinMode) -> PinnedProcess:
    """Open the directory of the process behind `pidfd` (which is taken over) below `proc`."""
    try:
        pid = pid_of_pidfd(pidfd, proc=proc)
        if pid <= 0:
            raise ProcessGone(
                "the caller ended before it was pinned"
                if pid < 0
                else f"the caller lies outside the PID namespace of {proc}",
                hint="" if pid < 0 else "mount the host's /proc for the agent",
            )
        try:
            dirfd = open_below(proc, str(pid), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            raise ProcessGone(
                f"process {pid} ended before it was pinned, or {proc} hides it",
                hint="an agent that is not root needs CAP_SYS_PTRACE where /proc is mounted with hidepid",
            ) from error
        except OSError as error:
            raise UnavailableError(f"{proc}/{pid} cannot be opened: {error.strerror}") from error
    except BaseException:
        os.close(pidfd)
        raise
    process = PinnedProcess(
        pid=pid, peer_pid=peer_pid, uid=uid, gid=gid, pidfd=pidfd, dirfd=dirfd, proc=proc, mode=mode
    )
    if not process.is_alive():
        process.close()
        raise ProcessGone(f"process {pid} ended while it was pinned")
    return process


def pid_of_pidfd(pidfd: int, *, proc: str = "/proc") -> int:
    """Say which number the process behind `pidfd` has as `proc` counts: -1 once it has been waited for, 0 unseen.

    The number is good for as long as the process lives, not longer.
    """
    try:
        with open(open_below(proc, f"self/fdinfo/{pidfd}"), encoding="ascii") as lines:
            for line in lines:
                if line.startswith("Pid:"):
                    return int(line.split()[1])
    except OSError as error:
        raise PeerUnsupported(
            f"{proc}/self cannot be read: {error.strerror}", hint=f"mount a procfs that shows this process at {proc}"
        ) from error
    raise PeerUnsupported("this kernel does not say what a pidfd refers to", hint="Linux 5.3 or later is needed")


def _effective_ids(process: PinnedProcess) -> tuple[int, int]:
    ids: dict[bytes, int] = {}
    # The name of a program may contain a carriage return, which ends a line for splitlines() and not for the kernel.
    for line in process.read("status").split(b"\n"):
        name, _, rest = line.partition(b":")
        if name in (b"Uid", b"Gid"):
            ids[name] = int(rest.split()[1])  # real, effective, saved, file system
    return ids[b"Uid"], ids[b"Gid"]


def require_started_by(process: PinnedProcess, moment_ns: int) -> None:
    """Refuse (`ProcessGone`) a process that started after `moment_ns`, counted since the machine was started."""
    # The second field, the program's name, may contain anything but its closing parenthesis is the last one. The start
    # time is field 22, in ticks since the machine was started, rounded down.
    fields = process.read("stat").rpartition(b")")[2].split()
    if int(fields[19]) * (1_000_000_000 // os.sysconf("SC_CLK_TCK")) > moment_ns:
        raise ProcessGone(f"process {process.pid} started after the connection was accepted")
