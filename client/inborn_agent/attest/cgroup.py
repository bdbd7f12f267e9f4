"""Control groups of a process (pure): which container id its paths speak of, and whether one process lies in another.

A path is a claim and not a proof: whoever has been given a subtree of control groups makes directories there with any
name, another container's id among them. So the id found here is good for one thing, to ask the engine about it; the
proof is `lies_within` the control groups of the process that the engine itself calls that container's first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from inborn.errors import DeniedError

__all__ = ["CgroupError", "container_id", "lies_within", "parse_cgroups"]

# A machine with cgroup v1 has some fifteen hierarchies; the kernel writes one line for each.
MAX_HIERARCHIES = 64

# Seen in paths as `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>`, `slice:engine:<id>`.
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class CgroupError(DeniedError):
    """The control groups cannot be made out, or speak of different containers."""


def parse_cgroups(text: bytes) -> dict[str, str]:
    """Read /proc/<pid>/cgroup into hierarchy -> path. Raises `CgroupError` for what the kernel never writes."""
    groups: dict[str, str] = {}
    for line in text.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n"):
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/") or len(groups) == MAX_HIERARCHIES:
            raise CgroupError(f"cannot make out the control groups: {line[:80]!a}")
        groups[f"{parts[0]}:{parts[1]}"] = parts[2]
    return groups


def container_id(groups: Mapping[str, str]) -> str | None:
    """Give the id of the innermost container that the paths speak of, None for a process of the host."""
    found = {ids[-1] for path in groups.values() if (ids := _ID.findall(path))}
    if len(found) > 1:
        raise CgroupError(f"the control groups speak of {len(found)} different containers")
    return found.pop() if found else None


def lies_within(groups: Mapping[str, str], container: Mapping[str, str], id_: str) -> bool:
    """Tell whether a process with `groups` lies in or below `container`, in every hierarchy.

    `container` are the control groups of the container's first process. One of them at least must bear its `id_`:
    otherwise the engine makes no control group for each container, and they tell nothing.
    """
    if not any(id_ in path for path in container.values()):
        return False
    return all(_is_below(groups.get(hierarchy), its) for hierarchy, its in container.items())


def _is_below(path: str | None, other: str) -> bool:
    if path is None:
        return False
    if path == other:
        return True
    prefix = other.rstrip("/") + "/"
    # Seen from a control group namespace, what lies outside begins with "/..", and "/../.." is above "/..".
    return path.startswith(prefix) and not path.startswith(prefix + "..")
