"""The unix attestor: users, groups and executable of a pinned process, by the kernel's word.

Selector names are SPIRE's: `unix:uid` and `unix:gid` are the effective ones.
"""

from __future__ import annotations

import grp
import pwd

from inborn._internal.process.pinning import FactUnreadable, IdentityChanged, PinnedProcess
from inborn._internal.selectors.kinds.unix import UNIX
from inborn_agent.attest.evidence import Evidence, EvidenceBuilder
from inborn_agent.attest.executable import DEFAULT_HASH_LIMIT, read_executable
from inborn_agent.attest.host import Host

__all__ = ["ATTESTOR", "attest_unix"]

# Every group is looked up by name, perhaps over a network. In a user namespace anybody can be in tens of thousands;
# a process that is gets no supplementary selectors at all rather than an arbitrary part of them.
MAX_SUPPLEMENTARY_GROUPS = 128


def attest_unix(process: PinnedProcess, *, hash_limit: int = DEFAULT_HASH_LIMIT) -> Evidence:
    """Read the unix facts of `process`: uid, user, gid, group, supplementary ones, path, sha256.

    Names are this machine's, also for a process in a container. Not checked: that the process lives when this returns
    (`WorkloadAttestors` does). Blocks on disk and on the user database. Raises `ProcessGone`, and `IdentityChanged` if
    the process no longer runs as the user it was pinned as.
    """
    findings = EvidenceBuilder(UNIX)
    status = _status(process)
    uid, gid = int(status[b"Uid"].split()[1]), int(status[b"Gid"].split()[1])
    if (uid, gid) != (process.uid, process.gid):
        raise IdentityChanged(
            f"process {process.pid} was uid {process.uid} gid {process.gid} and is uid {uid} gid {gid}",
            hint="connect after the change of user",
        )
    _add_user(findings, uid)
    _add_group(findings, gid, kind="gid", name_kind="group")
    groups = status[b"Groups"].split()
    if len(groups) > MAX_SUPPLEMENTARY_GROUPS:
        findings.hint(
            f"supplementary groups left out: the process is in {len(groups)}, the limit is {MAX_SUPPLEMENTARY_GROUPS}"
        )
    else:
        for number in groups:
            _add_group(findings, int(number), kind="supplementary_gid", name_kind="supplementary_group")
    _add_executable(findings, process, hash_limit)
    return findings.evidence()


def _status(process: PinnedProcess) -> dict[bytes, bytes]:
    # The name of a program may contain a carriage return, which ends a line for splitlines() and not for the kernel.
    lines = (line.partition(b":") for line in process.read("status").split(b"\n"))
    return {name: rest for name, _, rest in lines}


def _add_user(findings: EvidenceBuilder, uid: int) -> None:
    if _is_stand_in(uid, "uid"):
        findings.hint(f"unix:uid left out: {uid} stands for every user without a number in this user namespace")
        return
    findings.add("uid", uid)
    try:
        findings.add("user", pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass  # a user of a container mostly has no name here


def _add_group(findings: EvidenceBuilder, gid: int, *, kind: str, name_kind: str) -> None:
    if _is_stand_in(gid, "gid"):
        findings.hint(f"unix:{kind} left out: {gid} stands for every group without a number in this user namespace")
        return
    findings.add(kind, gid)
    try:
        findings.add(name_kind, grp.getgrgid(gid).gr_name)
    except KeyError:
        pass


def _add_executable(findings: EvidenceBuilder, process: PinnedProcess, hash_limit: int) -> None:
    try:
        executable = read_executable(process, hash_limit=hash_limit)
    except FactUnreadable as error:
        findings.hint(f"unix:path and unix:sha256 left out: {error.message}")
        return
    findings.executable = executable.id
    findings.add("path", executable.path)
    if executable.sha256 is not None:
        findings.add("sha256", executable.sha256)
    if executable.hint:
        findings.hint(executable.hint)


def _is_stand_in(number: int, kind: str) -> bool:
    """Tell whether the kernel put `number` in the place of one that has none here (an agent in a user namespace)."""
    try:
        with open(f"/proc/sys/kernel/overflow{kind}", encoding="ascii") as overflow:
            if number != int(overflow.read()):
                return False
        with open(f"/proc/self/{kind}_map", encoding="ascii") as ranges:
            mapped = sum(int(line.split()[2]) for line in ranges)
    except OSError:
        return False
    return mapped < (1 << 32) - 1  # the whole map: every number but the one that means "none"


class _UnixAttestor:
    reads_executable = True

    def attest(self, process: PinnedProcess, host: Host) -> Evidence:
        return attest_unix(process)


ATTESTOR = _UnixAttestor()
