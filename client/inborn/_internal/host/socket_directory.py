"""Directories for inner sockets: only our user can enter them, and none outlives its process for long.

A process that is killed cleans nothing up. So each directory is locked while it is in use, and whoever makes the first
one of a process removes those of its user that nobody has locked any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

from inborn.errors import UnavailableError

__all__ = ["SocketDirectory", "sweep"]

_PREFIX = "inborn-socket-"
_ATTEMPTS = 5  # a directory that is swept away between its making and its lock is made again
_swept = threading.Event()


class SocketDirectory:
    """One directory, mode 0700. `remove` may be called more than once, and is called when the process ends."""

    def __init__(self) -> None:
        """Raises `UnavailableError`."""
        if not _swept.is_set():
            _swept.set()
            sweep(Path(tempfile.gettempdir()))
        for _ in range(_ATTEMPTS):
            try:
                path = Path(tempfile.mkdtemp(prefix=_PREFIX))  # made with mode 0700
            except OSError as e:
                raise UnavailableError(f"cannot make a directory for a socket: {e.strerror}") from e
            lock = _lock(path)
            if lock is not None:
                self.path = path
                self.remove = weakref.finalize(self, _remove_own, os.getpid(), path, lock)
                return
        raise UnavailableError("cannot lock a directory for a socket")


def _lock(path: Path) -> int | None:
    """A descriptor that holds the directory's lock; None if somebody else has it, or the directory is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, held = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
        if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) and held.st_uid == os.geteuid():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove_own(pid: int, path: Path, lock: int) -> None:
    """At the end of a process: a child that was forked off has the same object, and leaves its parent's directory."""
    if pid == os.getpid():
        _remove(path, lock)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove what processes of this user have left behind."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{_PREFIX}*"):
            lock = _lock(path)
            if lock is not None:
                _remove(path, lock)
