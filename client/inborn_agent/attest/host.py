"""The host that processes are held against: its namespaces, and the sockets of its container engines.

The host is what the first process of the procfs lives in. Where this process may not look at that one, the numbers
count that the kernel gives to the namespaces it starts with.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from inborn._internal.process.pinned_process import FactUnreadable, read_whole
from inborn_agent.attest.mounts import Location, locate, parse_mounts

if TYPE_CHECKING:
    from inborn_agent.attest.container.engine import EngineClient

__all__ = ["MAX_MOUNTINFO_BYTES", "Host", "NamespaceId"]

NamespaceId = int
"""The number of a namespace: all of them lie on one file system of the kernel's."""

# Some 200 bytes a mount. Machines with many containers have thousands, and the kernel allows 100,000 (fs.mount-max).
MAX_MOUNTINFO_BYTES = 4 << 20

# Fixed by the kernel since Linux 3.8 (linux/nsfs.h); those of the second line since 6.18, before that they are numbered
# like all others.
_FIRST = {"ipc": 0xEFFFFFFF, "uts": 0xEFFFFFFE, "user": 0xEFFFFFFD, "pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
_FIRST_LATER = {"net": 0xEFFFFFF9, "mnt": 0xEFFFFFF8}
_LATER = (6, 18)

_ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/podman/podman.sock",
)

# Engines are started once in a while; mounts of the host change more often than that and are some hundred lines.
_REMEMBERED_SECONDS = 5.0


class Host:
    """`proc` is where its procfs is mounted; `engines` are those that this agent asks, root's first."""

    def __init__(self, *, proc: str = "/proc", engines: Iterable[EngineClient] = ()) -> None:
        self._proc = proc
        # Root's first: nobody else's engine may speak for a container of theirs.
        self.engines = tuple(sorted(engines, key=lambda engine: engine.owner_uid != 0))
        self._namespaces: Mapping[str, NamespaceId] = _namespaces(proc)
        self._locations: tuple[Location, ...] | None = None
        self._located_at: float | None = None

    def has(self, kind: str, namespace: NamespaceId) -> bool | None:
        """Tell whether this is the host's namespace of that kind; None where that is not known."""
        its = self._namespaces.get(kind)
        return None if its is None else its == namespace

    def has_this_process(self, kind: str) -> bool:
        """Tell whether this process itself lives in the host's namespace of that kind; False if that is not known."""
        return bool(self.has(kind, os.stat(f"/proc/self/ns/{kind}").st_ino))

    def root(self) -> str | None:
        """Where the host's files are seen: empty in its own mount namespace, None where they are not seen."""
        if self.has_this_process("mnt"):
            return ""
        root = f"{self._proc}/1/root"
        try:
            os.stat(f"{root}/.")
        except OSError:
            return None
        return root

    def engine_sockets(self) -> tuple[Location, ...] | None:
        """Where sockets of container engines lie on the host; None if the host's mounts cannot be read."""
        now = time.monotonic()
        if self._located_at is None or now - self._located_at > _REMEMBERED_SECONDS:
            self._locations, self._located_at = self._locate(), now
        return self._locations

    def _locate(self) -> tuple[Location, ...] | None:
        is_inside = not self.has_this_process("mnt")
        root = f"{self._proc}/1/root" if is_inside else ""  # that there may be one counts where it cannot be seen
        try:
            own = parse_mounts(_read("/proc/self/mountinfo"))
            hosts = parse_mounts(_read(f"{self._proc}/1/mountinfo")) if is_inside else own
        except (OSError, FactUnreadable):
            return None
        found = {locate(hosts, os.fsencode(path)) for path in _ENGINE_SOCKETS if _may_be_socket(root + path)}
        found |= {locate(own, os.fsencode(os.path.realpath(engine.socket_path))) for engine in self.engines}
        return tuple(location for location in found if location is not None)


def _namespaces(proc: str) -> dict[str, NamespaceId]:
    first = _FIRST | (_FIRST_LATER if _kernel_version() >= _LATER else {})
    found: dict[str, NamespaceId] = {}
    for kind in (*_FIRST, *_FIRST_LATER):
        try:
            found[kind] = os.stat(f"{proc}/1/ns/{kind}").st_ino
        except OSError:
            if kind in first:
                found[kind] = first[kind]
    return found


def _kernel_version() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_whole(descriptor, MAX_MOUNTINFO_BYTES)
    finally:
        os.close(descriptor)


def _may_be_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except PermissionError:
        return True
    except OSError:
        return False
