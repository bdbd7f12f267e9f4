"""Whether a directory lives in memory: keys of workloads are kept nowhere else."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["is_in_memory"]

_TMPFS_MAGIC = 0x01021994  # linux/magic.h
_RAMFS_MAGIC = 0x858458F6
_BUFFER = 512  # bytes: struct statfs has 120 on 64-bit Linux, 84 on 32-bit; its first field is the type


def is_in_memory(path: Path) -> bool:
    """Whether `path` lies on a tmpfs or ramfs, by statfs(2). False where that cannot be told.

    Not checked: whether the machine swaps it out to a disk that is not encrypted.
    """
    buffer = ctypes.create_string_buffer(_BUFFER)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.statfs(os.fsencode(path), buffer) != 0:
            return False
    except (OSError, AttributeError):
        return False
    kind = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return kind in (_TMPFS_MAGIC, _RAMFS_MAGIC)
