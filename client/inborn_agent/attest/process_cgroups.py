"""Reading the control groups of a pinned process, for those attestors that go by them."""

from __future__ import annotations

from inborn._internal.process.pinned_process import PinnedProcess
from inborn_agent.attest.cgroup import parse_cgroups

__all__ = ["MAX_CGROUP_BYTES", "read_cgroups"]

# The kernel writes at most a path of 4 KiB for each of some fifteen hierarchies.
MAX_CGROUP_BYTES = 256 << 10


def read_cgroups(process: PinnedProcess) -> dict[str, str]:
    """Read the control groups of `process`. Raises `CgroupError`, `FactUnreadable` and `ProcessGone`."""
    return parse_cgroups(process.read("cgroup", MAX_CGROUP_BYTES))
