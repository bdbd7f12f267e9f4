"""The executable that a pinned process runs: which file it is, its path and its digest.

Path and digest tell programs apart, never parties: whoever may run a program may preload a library into it. The digest
of a script is its interpreter's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from inborn._internal.process.pinning import FactUnreadable, PinnedProcess

__all__ = ["DEFAULT_HASH_LIMIT", "DigestCache", "Executable", "ExecutableId", "executable_id", "read_executable"]

# Hashing takes about a millisecond for each megabyte. Larger executables are rare and get no digest.
DEFAULT_HASH_LIMIT = 64 << 20

# Different executables that run on one machine; an entry takes some 300 bytes.
MAX_DIGESTS = 1024

# A file written twice within one tick of the file system's clock looks the same both times; no such clock is coarser
# than two seconds (FAT). Younger files are hashed each time.
_SETTLED_NS = 2_000_000_000

_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutableId:
    """Which file a process runs, by the kernel's word. Another one after exec(), or after the file was changed."""

    device: int
    inode: int
    changed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """What is known of an executable. `sha256` is None where the file is too large (then `hint` says so)."""

    id: ExecutableId
    path: str
    sha256: str | None
    hint: str = ""


class DigestCache:
    """Remembers digests by device, inode, size and times of change, the least recently used forgotten first.

    It believes the kernel's stat. A file system that its user implements (FUSE) could lie there; the kernel lets
    nobody but that user read one, root included, unless the machine's owner allows it (`user_allow_other`).
    """

    def __init__(self, size: int = MAX_DIGESTS) -> None:
        self._size = size
        self._digests: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._digests)

    def digest(self, descriptor: int) -> str:
        """Give the SHA-256 of an open file. Raises `FactUnreadable` if the file changes meanwhile."""
        before = _stat_key(os.fstat(descriptor))
        with self._lock:
            if (known := self._digests.get(before)) is not None:
                self._digests.move_to_end(before)
                return known
        digest = _sha256(descriptor, limit=before[2])
        if _stat_key(os.fstat(descriptor)) != before:
            raise FactUnreadable("the executable changed while it was hashed")
        if time.time_ns() - max(before[3:]) > _SETTLED_NS:
            with self._lock:
                self._digests[before] = digest
                while len(self._digests) > self._size:
                    self._digests.popitem(last=False)
        return digest


_digests = DigestCache()


def executable_id(process: PinnedProcess) -> ExecutableId | None:
    """Say which file the process runs; None if this process may not know. Raises `ProcessGone`."""
    try:
        return _id(process.stat("exe"))
    except FactUnreadable:
        return None


def read_executable(
    process: PinnedProcess, *, hash_limit: int = DEFAULT_HASH_LIMIT, digests: DigestCache = _digests
) -> Executable:
    """Read path and digest of the one file that the process runs.

    The path is the one in the process's own root directory; a file that was replaced or deleted since keeps the path
    it was started from. Raises `FactUnreadable`, also if the process calls exec() meanwhile, and `ProcessGone`.
    """
    descriptor = process.open("exe")
    try:
        stat = os.fstat(descriptor)
        path = process.readlink("exe")
        if stat.st_nlink == 0:
            path = path.removesuffix(_DELETED)
        sha256, hint = None, f"unix:sha256 left out: the executable has {stat.st_size} bytes, the limit is {hash_limit}"
        if stat.st_size <= hash_limit:
            sha256, hint = digests.digest(descriptor), ""
        if executable_id(process) != _id(stat):
            raise FactUnreadable("the process called exec() while its executable was read")
        return Executable(id=_id(stat), path=path, sha256=sha256, hint=hint)
    except OSError as error:
        raise FactUnreadable(f"the executable cannot be read: {errno.errorcode.get(error.errno or 0)}") from error
    finally:
        os.close(descriptor)


def _sha256(descriptor: int, *, limit: int) -> str:
    """Hash at most `limit` bytes: a file that grows meanwhile is found out by its size afterwards."""
    digest = hashlib.sha256()
    offset = 0
    while part := os.pread(descriptor, min(1 << 20, limit - offset), offset):
        digest.update(part)
        offset += len(part)
    return digest.hexdigest()


def _id(stat: os.stat_result) -> ExecutableId:
    return ExecutableId(device=stat.st_dev, inode=stat.st_ino, changed_ns=stat.st_ctime_ns)


def _stat_key(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
