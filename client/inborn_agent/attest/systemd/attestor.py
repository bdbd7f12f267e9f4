"""The systemd attestor: the unit that the system manager put a pinned process in, read from its control group.

Selector names are SPIRE's. No bus is asked: `/system.slice/nginx.service` is a directory that only the system manager
(or root) can make. Below a unit's own directory the unit may make more of them (`Delegate=`), and what lies below
`/user.slice` belongs to users and their own managers: names there are their words, and none is taken from there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from inborn._internal.process.pinning import FactUnreadable, PinnedProcess
from inborn._internal.selectors.kinds.systemd import SYSTEMD
from inborn_agent.attest.cgroup import CgroupError, container_id
from inborn_agent.attest.evidence import NOTHING, Evidence, EvidenceBuilder
from inborn_agent.attest.host import Host
from inborn_agent.attest.process_cgroups import read_cgroups

__all__ = ["ATTESTOR", "UNIT_DIRECTORIES", "attest_systemd", "find_fragment", "unit_of"]

# systemd.unit(5), "System Unit Search Path", the first one wins.
UNIT_DIRECTORIES = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)

# The kinds of unit that processes live in; a slice only holds other units.
_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")


def attest_systemd(groups: Mapping[str, str], host: Host, *, directories: Sequence[str] = UNIT_DIRECTORIES) -> Evidence:
    """Read the systemd facts of a process with these control groups; none for a process in a container.

    Not checked: that the unit was loaded from the file that is found now; the system manager reads it when it is told
    to (`daemon-reload`). Blocks on disk.
    """
    findings = EvidenceBuilder(SYSTEMD)
    if not host.has_this_process("cgroup"):
        # Paths begin somewhere in the middle then, perhaps in a directory of whoever is asked about.
        if any(".slice/" in path for path in groups.values()):
            findings.hint(
                "systemd selectors left out: the agent lives in a control group namespace of its own "
                "(its container needs the host's: --cgroupns host)"
            )
        return findings.evidence()
    unit = unit_of(groups)
    if unit is None:
        return findings.evidence()
    findings.add("id", unit)
    if (root := host.root()) is None:
        findings.hint("systemd:fragment_path left out: the agent does not see the host's files")
    elif (fragment := find_fragment(unit, directories, root=root)) is not None:
        findings.add("fragment_path", fragment)
    return findings.evidence()


def unit_of(groups: Mapping[str, str]) -> str | None:
    """Give the unit of the system manager that control groups speak of, None for whatever is not in one (pure).

    The outermost unit counts, below nothing but slices that are named as systemd nests them. A path that speaks of a
    container gives none: an engine can be told to make its group below any other (`--cgroup-parent`).
    """
    path = next((path for hierarchy, path in groups.items() if hierarchy.endswith(":name=systemd")), groups.get("0:"))
    try:
        if path is None or container_id(groups) is not None:
            return None
    except CgroupError:
        return None
    parent = ""
    for name in path.split("/")[1:]:
        stem, dot, suffix = name.rpartition(".")
        if f"{dot}{suffix}" in _SUFFIXES and stem and parent:
            return name.removeprefix("_")  # systemd puts it before names that would mean something to the kernel
        if suffix != "slice" or not _is_nested(stem, parent) or stem == "user":
            return None
        parent = stem
    return None


def find_fragment(unit: str, directories: Sequence[str] = UNIT_DIRECTORIES, *, root: str = "") -> str | None:
    """Find the file that defines `unit`, or the template that it is an instance of; a link counts as one.

    `root` is where the host's files are seen.
    """
    stem, _, suffix = unit.rpartition(".")
    template, at, _ = stem.partition("@")
    names = (unit, f"{template}@.{suffix}") if at else (unit,)
    for name in names:
        for directory in directories:
            path = os.path.join(directory, name)
            if _is_file(root + path):
                return path
    return None


def _is_file(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode  # where a link leads is for the host to say, and this may be somewhere else
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _is_nested(slice_: str, parent: str) -> bool:
    """`system-getty.slice` lies in `system.slice`, and `system.slice` in none."""
    return slice_.startswith(f"{parent}-") if parent else bool(slice_) and "-" not in slice_


class _SystemdAttestor:
    reads_executable = False

    def attest(self, process: PinnedProcess, host: Host) -> Evidence:
        try:
            groups = read_cgroups(process)
        except (CgroupError, FactUnreadable):
            return NOTHING  # the container attestor says what is wrong with them
        return attest_systemd(groups, host)


ATTESTOR = _SystemdAttestor()
