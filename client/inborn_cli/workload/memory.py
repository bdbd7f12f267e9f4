"""Directories that live in memory and not on a disk, for keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["file_system_of", "private_memory_directory"]

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def private_memory_directory() -> Path | None:
    """A directory in memory in which this user can make one of its own: systemd's for the unit, the session's, the
    system's. None if there is none. Not checked: whether memory is swapped to a disk."""
    for candidate in _candidates():
        if (
            candidate.is_absolute()
            and os.access(candidate, os.W_OK | os.X_OK)
            and file_system_of(candidate) in _IN_MEMORY
        ):
            return candidate
    return None


def _candidates() -> Iterator[Path]:
    # Both name one directory or several, separated by colons (systemd.exec(5)).
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        yield from (Path(part) for part in os.environ.get(name, "").split(":") if part)
    yield Path("/run")
    yield Path("/dev/shm")  # noqa: S108 -- what is made there is a directory of 0700 with a random name


def file_system_of(path: Path) -> str:
    """The type of the file system that a path lies on ("tmpfs"); empty where the kernel does not say."""
    try:
        device = os.stat(path).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")  # proc(5): optional fields end with a hyphen
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return ""
