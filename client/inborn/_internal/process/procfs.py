"""Opening what lies below /proc as the kernel made it, and nothing that somebody mounted there. Linux only.

Where an agent reads what a process is, a directory that only looks like a procfs, or a file mounted over another one
there, would make any process anybody. Whoever may mount there is root, or has been given a mount by root; a mistake in
what is mounted into the agent's container is enough.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Callable

from inborn.errors import UnavailableError

__all__ = ["NotProcfs", "open_below", "open_fact", "open_procfs"]

_PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h
_STATFS_BYTES = 512  # struct statfs has 120 on 64-bit Linux, 84 on 32-bit; its first field is the type
_SYS_OPENAT2 = 437  # of every architecture that Python's own Linux builds exist for; Linux 5.6 and later
_RESOLVE_NO_XDEV = 1  # linux/openat2.h: EXDEV instead of going through a mount


class NotProcfs(UnavailableError):
    """What was given as the mount of /proc is something else."""


def open_procfs(path: str) -> int:
    """Open the directory `path` if it is a procfs; the caller closes the descriptor. Raises `NotProcfs`.

    Not checked: which PID namespace it shows.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotProcfs(f"{path} cannot be opened: {error.strerror}", hint="mount the host's /proc there") from error
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc().fstatfs(descriptor, buffer) != 0 or ctypes.c_long.from_buffer(buffer).value != _PROC_SUPER_MAGIC:
        os.close(descriptor)
        raise NotProcfs(f"{path} is not a procfs", hint="mount the host's /proc there")
    return descriptor


def open_below(proc: str, name: str, flags: int = os.O_RDONLY) -> int:
    """Open `name` below the procfs at `proc` as `open_fact` does. Raises `NotProcfs` and `OSError`."""
    directory = open_procfs(proc)
    try:
        return open_fact(name, directory, flags)
    finally:
        os.close(directory)


def open_fact(name: str, directory: int, flags: int = os.O_RDONLY) -> int:
    """Open `name` below the open directory, refusing (EXDEV) whatever is mounted on the way. Raises `OSError`.

    Links that the kernel follows itself (`exe`, `root`, `ns/*`) lead out of the procfs by nature: not for those.
    Where the kernel has no openat2() a file that was mounted over another of the same procfs is not noticed.
    """
    flags |= os.O_CLOEXEC
    how = struct.pack("=3Q", flags, 0, _RESOLVE_NO_XDEV)
    descriptor = _openat2()(_SYS_OPENAT2, directory, os.fsencode(name), how, len(how))
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    # EPERM: what seccomp profiles answer that are older than the call.
    if number not in (errno.ENOSYS, errno.EPERM):
        raise OSError(number, os.strerror(number), name)
    descriptor = os.open(name, flags, dir_fd=directory)
    if os.fstat(descriptor).st_dev != os.fstat(directory).st_dev:
        os.close(descriptor)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return descriptor


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _openat2() -> Callable[..., int]:
    syscall = ctypes.CDLL(None, use_errno=True).syscall  # of its own: the types are those of this one call
    syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    syscall.restype = ctypes.c_long
    return syscall
