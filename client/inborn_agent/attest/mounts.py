"""What a mount namespace shows of the host's files (pure): lines of /proc/<pid>/mountinfo, and where they lead.

A mount is a directory of a file system (`root`) shown at a place (`point`). Two mount namespaces that mount the same
file system name it by the same device number, so a file is found wherever it is mounted, under whatever name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Location", "Mount", "is_visible", "locate", "parse_mounts", "shows_engine_socket"]

_ESCAPE = re.compile(rb"\\([0-7]{3})")

_ENGINE_SOCKET = re.compile(rb"/(?:buildkitd|containerd|cri-dockerd|crio|docker|dockershim|podman)\.sock")

# What systemd and container engines mount over something to hide it.
_STAND_INS = frozenset({b"sock", b"null"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    id: bytes
    parent: bytes
    device: bytes
    root: bytes
    point: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A file by its file system and its path in there: the same from every mount namespace."""

    device: bytes
    path: bytes


def parse_mounts(text: bytes) -> list[Mount]:
    """Read mountinfo; lines that do not fit are left out (the kernel writes none)."""
    mounts = []
    for line in text.split(b"\n"):
        parts = line.split(b" ", 5)
        if len(parts) == 6:
            id_, parent, device, root, point, _ = parts
            if b"\\" in line:
                root, point = _unescape(root), _unescape(point)
            mounts.append(Mount(id=id_, parent=parent, device=device, root=root, point=point))
    return mounts


def locate(mounts: Sequence[Mount], path: bytes) -> Location | None:
    """Say where the file lies that `path` (absolute, without links) names in this mount namespace."""
    best: Mount | None = None
    for mount in mounts:
        # Of two at the same place the later one lies on top.
        if _rest(path, mount.point) is not None and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    if best is None:
        return None
    return Location(device=best.device, path=_join(best.root, _rest(path, best.point) or b""))


def is_visible(mounts: Iterable[Mount], location: Location) -> bool:
    """Tell whether a mount shows `location` and has no other one on top of it there.

    A mount that is hidden as a whole below a later one counts as showing it: the answer errs on the side of True.
    """
    all_mounts = list(mounts)
    for mount in all_mounts:
        if mount.device != location.device or (rest := _rest(location.path, mount.root)) is None:
            continue
        place = _join(mount.point, rest)
        is_covered = any(
            other.parent == mount.id and _rest(other.point, mount.point) is not None
            and _rest(place, other.point) is not None
            for other in all_mounts
        )  # fmt: skip
        if not is_covered:
            return True
    return False


def shows_engine_socket(mounts: Iterable[Mount]) -> bool:
    """Tell whether a mount is, by its name there or where it comes from, a container engine's socket."""
    return any(
        _ENGINE_SOCKET.search(mount.root)
        or (_ENGINE_SOCKET.search(mount.point) and mount.root.rpartition(b"/")[2] not in _STAND_INS)
        for mount in mounts
    )


def _rest(path: bytes, directory: bytes) -> bytes | None:
    """What of `path` lies below `directory`; None if it does not."""
    if path == directory:
        return b""
    prefix = directory.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _join(directory: bytes, rest: bytes) -> bytes:
    return directory if not rest else directory.rstrip(b"/") + b"/" + rest


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 8) & 0xFF,)), text)
