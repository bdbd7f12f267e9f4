"""What each thread of a pinned process may do.

Capabilities, seccomp, no_new_privs, namespaces and the root directory belong to threads, not to processes: a process
whose first thread has given up everything may have another one that has not. So all threads are read, and the process
is what the least locked in of them is.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from os import ST_RDONLY

from inborn._internal.process.pinned_process import FactUnreadable, PinnedProcess
from inborn_agent.attest.host import NamespaceId

__all__ = ["THREAD_NAMESPACES", "Thread", "namespace_of", "read_threads"]

THREAD_NAMESPACES = ("net", "ipc", "mnt", "uts", "cgroup")
"""Those that threads of one process may differ in. A user or PID namespace is of all or of none."""

# Reading a thread takes some 40 microseconds. A process with more has none of the facts that threads have.
MAX_THREADS = 1024

# Threads come and go; a process whose threads never stand still for as long as they are read is not believed.
ATTEMPTS = 5

# What the kernel answers for a label when no security module has one to give.
_NO_LABEL = frozenset({errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Facts of one thread; None for one that this process may not read, and `refusals` say why."""

    seccomp: int
    no_new_privs: bool
    usable: int
    """Capabilities that are effective, or that it may make so."""
    gainable: int
    """Capabilities that may come by exec()."""
    is_root_outside: bool
    """Whether one of its users or groups is 0 as this process's own user namespace counts."""
    namespaces: Mapping[str, NamespaceId | None]
    has_read_only_root: bool | None
    label: str | None
    refusals: Mapping[str, str]


def read_threads(process: PinnedProcess) -> list[Thread]:
    """Read all threads of `process`, at least one.

    They are listed before and after: a thread that was made meanwhile by one that then gave something up would be in
    the second list alone. (What was given up does not come back but by exec(), which the caller has to look for.)
    Raises `FactUnreadable` if they do not stand still or are too many, and `ProcessGone`.
    """
    before = process.names("task")
    for _ in range(ATTEMPTS):
        if len(before) > MAX_THREADS:
            raise FactUnreadable(f"the process has {len(before)} threads, the limit is {MAX_THREADS}")
        threads = [thread for name in before if (thread := _read(process, f"task/{name}")) is not None]
        after = process.names("task")
        if threads and before == after:
            return threads
        before = after
    raise FactUnreadable("the process makes threads faster than they can be read")


def _read(process: PinnedProcess, at: str) -> Thread | None:
    """None for a thread that has ended."""
    try:
        status = process.read(f"{at}/status")
        if _field(status, b"State").split()[0] in (b"Z", b"X"):
            return None
    except FactUnreadable as error:
        if error.facts.get("errno") in (errno.ENOENT, errno.ESRCH):
            return None
        raise
    refusals: dict[str, str] = {}
    return Thread(
        seccomp=int(_field(status, b"Seccomp") or b"0"),
        no_new_privs=_field(status, b"NoNewPrivs").strip() == b"1",
        usable=int(_field(status, b"CapEff"), 16) | int(_field(status, b"CapPrm"), 16),
        gainable=int(_field(status, b"CapBnd"), 16) | int(_field(status, b"CapInh"), 16),
        is_root_outside=b"0" in b" ".join(_field(status, name) for name in (b"Uid", b"Gid", b"Groups")).split(),
        namespaces={name: _namespace(process, at, name, refusals) for name in THREAD_NAMESPACES},
        has_read_only_root=_has_read_only_root(process, at, refusals),
        label=_label(process, at, refusals),
        refusals=refusals,
    )


def _field(status: bytes, name: bytes) -> bytes:
    """Empty for one that this kernel does not have. The kernel lets no name of a program contain the end of a line."""
    begin = status.find(b"\n" + name + b":")
    return status[begin + len(name) + 2 : status.find(b"\n", begin + 1)] if begin >= 0 else b""


def namespace_of(process: PinnedProcess, at: str) -> NamespaceId:
    """Say which namespace a link leads to (`ns/user`). Raises `FactUnreadable` and `ProcessGone`."""
    return int(process.readlink(at).rpartition("[")[2].rstrip("]"))


def _namespace(process: PinnedProcess, at: str, name: str, refusals: dict[str, str]) -> NamespaceId | None:
    try:
        return namespace_of(process, f"{at}/ns/{name}")
    except FactUnreadable as error:
        refusals[f"ns_{name}"] = _reason(error)
        return None


def _has_read_only_root(process: PinnedProcess, at: str, refusals: dict[str, str]) -> bool | None:
    try:
        return bool(process.mount_flags(f"{at}/root") & ST_RDONLY)
    except FactUnreadable as error:
        refusals["rootfs"] = _reason(error)
        return None


def _label(process: PinnedProcess, at: str, refusals: dict[str, str]) -> str | None:
    try:
        label = process.read(f"{at}/attr/current")
    except FactUnreadable as error:
        if error.facts.get("errno") in _NO_LABEL:
            return "none"
        refusals["lsm"] = _reason(error)
        return None
    return label.strip(b"\n\0 ").decode("utf-8", "backslashreplace") or "none"


def _reason(error: FactUnreadable) -> str:
    return error.message.rpartition(": ")[2]
