"""A pinned process: descriptors that stay with one process for ever, and reads that go through them."""

from __future__ import annotations

import enum
import errno
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from inborn._internal.process.procfs import open_fact
from inborn.errors import DeniedError, InbornError, UnavailableError

__all__ = [
    "FactUnreadable",
    "IdentityChanged",
    "PeerUnsupported",
    "PinMode",
    "PinnedProcess",
    "ProcessGone",
    "read_whole",
]

# The longest file read of a process whose length its owner can choose: `status`, where 65,536 supplementary groups
# (NGROUPS_MAX) take 11 bytes each.
MAX_FACT_BYTES = 1 << 20


_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class PeerUnsupported(UnavailableError):
    """This system cannot say who is on the other end of a UNIX socket in the way that is needed."""


class ProcessGone(DeniedError):
    """The process has ended, or cannot be seen; nothing is given to it."""


class IdentityChanged(DeniedError):
    """The process runs as somebody else than it connected as, or as another program than before."""


class FactUnreadable(DeniedError):
    """The process lives, and one fact about it could not be read. Whoever catches it leaves the fact out."""


class PinMode(enum.Enum):
    """How the kernel was asked for the peer."""

    PEER_PIDFD = "SO_PEERPIDFD"
    """The kernel handed out the peer itself (Linux 6.5 and later)."""
    PIDFD_OPEN = "pidfd_open"
    """By number, with checks afterwards; see the gap in the module's text. `pin_pid` is always of this kind."""


class PinnedProcess:
    """One process, for ever. Close it, or use it as a context manager.

    `pid` is its number as the procfs at `proc` counts; `peer_pid` as this process's own PID namespace counts, 0 if it
    cannot be seen from here. `uid` and `gid` are the effective ones: of the moment of connect() after `pin_peer`, of
    the moment of pinning after `pin_pid`. Reads may run in several threads, also while another one closes: the
    descriptors go when the last read is done.
    """

    def __init__(
        self, *, pid: int, peer_pid: int, uid: int, gid: int, pidfd: int, dirfd: int, proc: str, mode: PinMode
    ) -> None:
        self.pid = pid
        self.peer_pid = peer_pid
        self.uid = uid
        self.gid = gid
        self.proc = proc
        self.mode = mode
        self._pidfd = pidfd
        self._dirfd = dirfd
        self._lock = threading.Lock()
        self._readers = 0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"PinnedProcess(pid={self.pid}, uid={self.uid}, gid={self.gid}, mode={self.mode.name})"

    def __enter__(self) -> PinnedProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def is_alive(self) -> bool:
        """Tell whether the process has not ended yet. A process that nobody has waited for (a zombie) has ended."""
        try:
            with self._open() as (pidfd, _):
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                return not poll.poll(0)
        except ProcessGone:
            return False

    def duplicate_pidfd(self) -> int:
        """Give a pidfd of the caller's own, to be closed by it."""
        with self._open() as (pidfd, _):
            return os.dup(pidfd)

    def open(self, name: str) -> int:
        """Open what a link below the process's directory leads to, for reading; the caller closes the descriptor."""
        with self._open() as (_, dirfd):
            try:
                return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dirfd)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def read(self, name: str, limit: int = MAX_FACT_BYTES) -> bytes:
        """Read a file below the process's directory, and nothing that was mounted over it.

        More than `limit` bytes are an error, never cut.
        """
        with self._open() as (_, dirfd):
            try:
                descriptor = open_fact(name, dirfd)
                try:
                    return read_whole(descriptor, limit)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def names(self, name: str) -> list[str]:
        """List a directory below the process's, in the kernel's order."""
        with self._open() as (_, dirfd):
            try:
                descriptor = open_fact(name, dirfd, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    return os.listdir(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def mount_flags(self, name: str) -> int:
        """Give the flags (`os.ST_*`) of the mount that a link below the process's directory leads into."""
        with self._open() as (_, dirfd):
            try:
                descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=dirfd)
                try:
                    return os.fstatvfs(descriptor).f_flag
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def readlink(self, name: str) -> str:
        """Read a link below the process's directory (undecodable bytes as surrogates)."""
        with self._open() as (_, dirfd):
            try:
                return os.readlink(name, dir_fd=dirfd)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def stat(self, name: str) -> os.stat_result:
        """Stat what a file or link below the process's directory leads to."""
        with self._open() as (_, dirfd):
            try:
                return os.stat(name, dir_fd=dirfd)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def close(self) -> None:
        """Let go of the process. May be called more than once."""
        self._leave(closes=True)

    @contextmanager
    def _open(self) -> Iterator[tuple[int, int]]:
        with self._lock:
            if self._is_closed:
                raise ProcessGone(f"process {self.pid} is no longer pinned")
            self._readers += 1
        try:
            yield self._pidfd, self._dirfd
        finally:
            self._leave(reads=True)

    def _leave(self, *, reads: bool = False, closes: bool = False) -> None:
        with self._lock:
            if closes and self._is_closed:
                return
            self._readers -= reads
            self._is_closed |= closes
            is_last = self._is_closed and self._readers == 0
        if is_last:
            os.close(self._pidfd)
            os.close(self._dirfd)

    def _unreadable(self, name: str, error: OSError) -> InbornError:
        if error.errno in _OUT_OF_RESOURCES:
            return UnavailableError(f"/proc/{self.pid}/{name} cannot be read now: {error.strerror}")
        # One thread may end, and its process go on.
        if (error.errno == errno.ESRCH and not name.startswith("task/")) or not self.is_alive():
            return ProcessGone(f"process {self.pid} ended while {name} was read")
        reason = "something is mounted over it" if error.errno == errno.EXDEV else error.strerror
        return FactUnreadable(f"/proc/{self.pid}/{name}: {reason}", errno=error.errno)


def read_whole(descriptor: int, limit: int) -> bytes:
    """Read an open file of procfs to its end. More than `limit` bytes are an error, never cut."""
    content = bytearray()
    while part := os.read(descriptor, 65536):
        content += part
        if len(content) > limit:
            raise FactUnreadable(f"a file of a process is longer than {limit} bytes")
    return bytes(content)
