"""The vocabulary of posture selectors: what the kernel says of how a process is locked in (pure).

A selector can only be demanded, not excluded, and a fact that could not be read is absent. So every absence that
somebody may want to rely on is a selector of its own: `posture:cap_eff_lacks:CAP_SYS_ADMIN` is there only if the kernel
was asked and the capability was not. Demanding the absence of `posture:cap_eff:CAP_SYS_ADMIN` instead would let pass
whatever could not be looked at.

`cap_eff` counts a capability that is *permitted* as effective, since its owner may make it so at any moment; `cap_bnd`
counts what is bounding or inheritable, since that is what may still come by exec().
"""

from __future__ import annotations

from types import MappingProxyType

from inborn._internal.selectors.selector import Selector

__all__ = ["CAPABILITIES", "LISTED", "NAMESPACES", "is_known", "listed"]

# Numbered from 0 (linux/capability.h). Later ones have no name here, and count as held or lacking all the same.
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

# Those that have selectors, present or lacking: with one of them a process reaches beyond its own files and its own
# container (others' files, processes, network, devices, the kernel, the clock). A selector for each of all forty would
# double what is written for each certificate; `none` speaks of all forty.
LISTED = frozenset(
    {
        "CAP_BPF", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_RAW",
        "CAP_PERFMON", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO", "CAP_SYS_TIME",
    }
)  # fmt: skip

NAMESPACES = ("pid", "net", "ipc", "mnt", "uts", "cgroup")

_PLACES = frozenset({"host", "private"})
_VALUES = MappingProxyType(
    {
        "seccomp": frozenset({"off", "filter", "strict"}),
        "no_new_privs": frozenset({"true", "false"}),
        "cap_eff": LISTED | {"none"},
        "cap_eff_lacks": LISTED,
        "cap_bnd": frozenset({"none"}),
        "cap_bnd_lacks": LISTED,
        "userns": frozenset({"host", "mapped", "nested"}),
        **{f"ns_{name}": _PLACES for name in NAMESPACES},
        "rootfs": frozenset({"ro", "rw"}),
        "runtime_socket": frozenset({"none", "visible"}),
    }
)


def listed(mask: int) -> tuple[list[str], list[str]]:
    """Which of the listed capabilities are in a mask of capabilities, and which are not."""
    has: list[str] = []
    lacks: list[str] = []
    for number, name in _LISTED_NUMBERS:
        (has if mask >> number & 1 else lacks).append(name)
    return has, lacks


_LISTED_NUMBERS = tuple((number, name) for number, name in enumerate(CAPABILITIES) if name in LISTED)


def is_known(selector: Selector) -> bool:
    """Tell whether a process can have the posture `selector` at all; an entry with another one never matches.

    Labels of a security module (`lsm`) are whatever its policy says. True for selectors of other types.
    """
    if selector.type != "posture":
        return True
    kind, _, value = selector.value.partition(":")
    return (kind == "lsm" and bool(value)) or value in _VALUES.get(kind, ())
