"""The posture attestor: how a pinned process is locked in, by the kernel's word.

`selectors.kinds.posture` has the vocabulary.

What posture proves is a limit on this process: none of its threads can do more. It does not prove who put the limit
there. Any process can lock itself in, and another process of the same user need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from inborn._internal.process.pinned_process import FactUnreadable, PinnedProcess
from inborn._internal.selectors.kinds.posture import POSTURE, listed
from inborn_agent.attest.evidence import Evidence, EvidenceBuilder
from inborn_agent.attest.host import MAX_MOUNTINFO_BYTES, Host
from inborn_agent.attest.mounts import is_visible, parse_mounts, shows_engine_socket
from inborn_agent.attest.posture.threads import THREAD_NAMESPACES, Thread, namespace_of, read_threads

__all__ = ["ATTESTOR", "attest_posture"]

# By the number in /proc/<pid>/status; the least locked in first.
_SECCOMP = {0: "off", 2: "filter", 1: "strict"}

# The kernel takes at most 340 lines for a map of ids.
MAX_ID_MAP_BYTES = 64 << 10

_HOSTS_IS_UNKNOWN = "the host's own may not be looked at"

_NO_ID = 0xFFFFFFFF  # in a map: somebody whom this process's own user namespace has no number for


def attest_posture(process: PinnedProcess, host: Host) -> Evidence:
    """Read seccomp, no_new_privs, capabilities, namespaces, root file system, label and engine sockets of `process`.

    Where its threads differ it is what the least locked in of them is. What cannot be read is absent, with a hint. Not
    checked: that the process lives when this returns. Blocks. Raises `ProcessGone`.
    """
    findings = EvidenceBuilder(POSTURE)
    try:
        threads = read_threads(process)
    except FactUnreadable as error:
        findings.hint(f"posture selectors left out: {error.message}")
        return findings.evidence()
    _add_privileges(findings, threads)
    refusals: dict[str, str] = {}
    for thread in threads:
        refusals |= thread.refusals
    _add_namespaces(findings, threads, host, refusals)
    roots = {thread.has_read_only_root for thread in threads}
    if None not in roots:
        findings.add("rootfs", "rw" if False in roots else "ro")
    _add_label(findings, threads, refusals)
    for kind, read in (("userns", _user_namespace), ("ns_pid", _pid_namespace), ("runtime_socket", _runtime_socket)):
        _add(findings, kind, read, process, host, threads, refusals)
    for reason in sorted(set(refusals.values())):
        kinds = ", ".join(sorted(kind for kind, its in refusals.items() if its == reason))
        findings.hint(f"posture:{kinds} left out: {reason}")
    return findings.evidence()


def _add_privileges(findings: EvidenceBuilder, threads: list[Thread]) -> None:
    weakest = next((mode for mode in _SECCOMP if any(thread.seccomp == mode for thread in threads)), None)
    if weakest is None:
        findings.hint("posture:seccomp left out: the kernel says what was not known when this was written")
    else:
        findings.add("seccomp", _SECCOMP[weakest])
    findings.add("no_new_privs", "true" if all(thread.no_new_privs for thread in threads) else "false")
    usable = gainable = 0
    for thread in threads:
        usable |= thread.usable
        gainable |= thread.gainable
    has, lacks = listed(usable)
    if not usable:
        findings.add("cap_eff", "none")
    _add_all(findings, "cap_eff", has)
    _add_all(findings, "cap_eff_lacks", lacks)
    if not gainable:
        findings.add("cap_bnd", "none")
    _add_all(findings, "cap_bnd_lacks", listed(gainable)[1])


def _add_all(findings: EvidenceBuilder, kind: str, values: Iterable[str]) -> None:
    for value in values:
        findings.add(kind, value)


def _add_namespaces(findings: EvidenceBuilder, threads: list[Thread], host: Host, refusals: dict[str, str]) -> None:
    for name in THREAD_NAMESPACES:
        kind = f"ns_{name}"
        found = {thread.namespaces[name] for thread in threads}
        are_hosts = {None if its is None else host.has(name, its) for its in found}
        if True in are_hosts:
            findings.add(kind, "host")
        elif are_hosts == {False}:
            findings.add(kind, "private")
        else:
            refusals.setdefault(kind, _HOSTS_IS_UNKNOWN)


def _add_label(findings: EvidenceBuilder, threads: list[Thread], refusals: dict[str, str]) -> None:
    labels = {thread.label for thread in threads}
    if len(labels) > 1:
        refusals.setdefault("lsm", "its threads have different ones")
    elif (label := labels.pop()) is not None:
        findings.add("lsm", label)


def _add(
    findings: EvidenceBuilder,
    kind: str,
    read: Callable[[PinnedProcess, Host, list[Thread]], str],
    process: PinnedProcess,
    host: Host,
    threads: list[Thread],
    refusals: dict[str, str],
) -> None:
    try:
        findings.add(kind, read(process, host, threads))
    except FactUnreadable as error:
        refusals[kind] = error.message.rpartition(": ")[2]


def _user_namespace(process: PinnedProcess, host: Host, threads: list[Thread]) -> str:
    """The host's; or another one, which is `mapped` where nobody in it is the host's root, user or group.

    All threads of a process are in one user namespace: the kernel lets only a process with a single one change it.
    """
    is_hosts = host.has("user", namespace_of(process, "ns/user"))
    if is_hosts is None:
        raise FactUnreadable(_HOSTS_IS_UNKNOWN)
    if is_hosts:
        return "host"
    if any(thread.is_root_outside for thread in threads):
        return "nested"
    maps = [process.read(name, MAX_ID_MAP_BYTES) for name in ("uid_map", "gid_map")]
    return "nested" if any(_has_root_outside(one) for one in maps) else "mapped"


def _pid_namespace(process: PinnedProcess, host: Host, threads: list[Thread]) -> str:
    is_hosts = host.has("pid", namespace_of(process, "ns/pid"))
    if is_hosts is None:
        raise FactUnreadable(_HOSTS_IS_UNKNOWN)
    return "host" if is_hosts else "private"


def _has_root_outside(id_map: bytes) -> bool:
    """Tell whether a map of ids leads to 0 outside, or to somebody who cannot be told; an empty one leads to nobody."""
    ranges = [[int(word) for word in line.split()] for line in id_map.splitlines()]
    return any(outside in (0, _NO_ID) for _, outside, _ in ranges)


def _runtime_socket(process: PinnedProcess, host: Host, threads: list[Thread]) -> str:
    """Whether a container engine's socket is to be seen in its mount namespace, whoever may open it."""
    namespaces = {thread.namespaces["mnt"] for thread in threads}
    if len(namespaces) > 1:
        raise FactUnreadable("its threads have different mounts")
    sockets = host.engine_sockets()
    if sockets is None:
        raise FactUnreadable("the host's mounts may not be looked at")
    if (namespace := namespaces.pop()) is not None and host.has("mnt", namespace):
        return "visible" if sockets else "none"
    mounts = parse_mounts(process.read("mountinfo", MAX_MOUNTINFO_BYTES))
    if shows_engine_socket(mounts) or any(is_visible(mounts, socket) for socket in sockets):
        return "visible"
    return "none"


class _PostureAttestor:
    reads_executable = False

    def attest(self, process: PinnedProcess, host: Host) -> Evidence:
        return attest_posture(process, host)


ATTESTOR = _PostureAttestor()
