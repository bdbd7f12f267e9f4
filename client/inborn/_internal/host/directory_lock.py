"""One process at a time on a directory: the supervisor on its data directory, an agent and a daemon on theirs."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from inborn.errors import PreconditionError, RequestError

__all__ = ["DirectoryInUse", "DirectoryLock"]

_PAUSE = 0.05  # seconds between two attempts
_MAX_NUMBER = 32  # bytes of the holder's number


class DirectoryInUse(PreconditionError):
    """Another process runs on the directory."""


class DirectoryLock:
    """Holds the directory from its making until `release`, or until the process and all that inherited `descriptor`
    have ended. The file `lock` in it names the holder."""

    def __init__(self, directory: Path, *, patience: float = 0.0, hint: str = "") -> None:
        """`patience` is how many seconds are left to what a holder that has ended has started, and that goes on.

        Raises `DirectoryInUse`, which names the holder, `RequestError` for a lock that is a link, and `OSError`.
        """
        path = directory / "lock"
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            if e.errno != errno.ELOOP:
                raise
            raise RequestError(f"{path} is a link", hint="delete it, if nobody needs it") from e
        try:
            _lock(self.descriptor, directory, patience, hint or "stop it, or choose another directory")
            os.fchmod(self.descriptor, 0o600)
            os.ftruncate(self.descriptor, 0)
            _name_holder(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise

    def release(self) -> None:
        os.close(self.descriptor)


def _name_holder(descriptor: int) -> None:
    """Whom others are told of. The lock holds without it, as on a full disk."""
    with suppress(OSError):
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _lock(descriptor: int, directory: Path, patience: float, hint: str) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as e:
            if e.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise PreconditionError(f"{directory} cannot be locked: {e.strerror}") from e
        holder = _holder(descriptor)
        if holder is not None or time.monotonic() >= deadline:
            raise DirectoryInUse(f"{directory} is in use by process {holder or 'unknown'}", hint=hint)
        time.sleep(_PAUSE)


def _holder(descriptor: int) -> int | None:
    """The process that says it holds the lock, if it lives; what it started may outlive it by a moment."""
    text = os.pread(descriptor, _MAX_NUMBER, 0).decode(errors="replace").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    try:
        os.kill(int(text), 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return int(text)
