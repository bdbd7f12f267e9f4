"""What the posture attestor says: the vocabulary of how a process is locked in, by the kernel's word (pure).

A selector can only be demanded, not excluded, and a fact that could not be read is absent. So every absence that
somebody may want to rely on is a selector of its own: `posture:cap_eff_lacks:CAP_SYS_ADMIN` is there only if the kernel
was asked and the capability was not. Demanding the absence of `posture:cap_eff:CAP_SYS_ADMIN` instead would let pass
whatever could not be looked at.

`cap_eff` counts a capability that is *permitted* as effective, since its owner may make it so at any moment; `cap_bnd`
counts what is bounding or inheritable, since that is what may still come by exec().
"""

from __future__ import annotations

from collections.abc import Collection

from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

__all__ = ["CAPABILITIES", "DECLARATION", "LISTED", "NAMESPACES", "POSTURE", "listed"]

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


def listed(mask: int) -> tuple[list[str], list[str]]:
    """Which of the listed capabilities are in a mask of capabilities, and which are not."""
    has: list[str] = []
    lacks: list[str] = []
    for number, name in _LISTED_NUMBERS:
        (has if mask >> number & 1 else lacks).append(name)
    return has, lacks


_LISTED_NUMBERS = tuple((number, name) for number, name in enumerate(CAPABILITIES) if name in LISTED)


def _key(
    name: str,
    example: str,
    says: str,
    values: Collection[str] | None,
    *,
    forger: str = "nobody; but every process may lock itself in",
) -> SelectorKey:
    """A fact about how a process is locked in. `values` are all that there are; None: any."""
    return SelectorKey(
        name=name,
        example=example,
        says=says,
        forger=forger,
        trust=TrustClass.KERNEL,
        may_be=bool if values is None else frozenset(values).__contains__,
        otherwise="is not what an agent says of posture",
    )


POSTURE = SelectorType(
    name="posture",
    alone="rests on posture alone: any process that locks itself in like that has this identity; "
    "add a uid, a group, a unit or an image digest",
    keys=(
        _key(
            "seccomp",
            "filter",
            "system calls are filtered on all its threads; or `strict`, `off`",
            {"off", "filter", "strict"},
        ),
        _key("no_new_privs", "true", "exec() gives no privileges; or `false`", {"true", "false"}),
        _key(
            "cap_eff",
            "CAP_SYS_ADMIN",
            "has this capability, or could take it up; `none`: none at all, and none that it could take up",
            LISTED | {"none"},
            forger="nobody; but every process may give up all of them",
        ),
        _key("cap_eff_lacks", "CAP_SYS_ADMIN", "has not this capability, by the kernel's word", LISTED),
        _key("cap_bnd", "none", "no capability can come by exec()", {"none"}),
        _key("cap_bnd_lacks", "CAP_SYS_ADMIN", "this capability cannot come by exec()", LISTED),
        _key(
            "userns",
            "mapped",
            "a user namespace in which nobody is the host's root; or `nested`, `host`",
            {"host", "mapped", "nested"},
        ),
        *(
            _key(f"ns_{name}", "private", f"its {name} namespace is not the host's; or `host`", {"host", "private"})
            for name in NAMESPACES
        ),
        _key("rootfs", "ro", "its root is mounted read-only; or `rw`", {"ro", "rw"}),
        _key(
            "runtime_socket",
            "none",
            "no engine's socket is to be seen from it; or `visible`",
            {"none", "visible"},
        ),
        # Labels of a security module are whatever its policy says.
        _key(
            "lsm",
            "web_t",
            "label of AppArmor or SELinux; `none` without",
            None,
            forger="who the module's policy lets change it",
        ),
    ),
)

DECLARATION = AttestorDeclaration(
    kind="posture",
    about="How the process is locked in, by the kernel's word on each of its threads. It is a limit on the process and "
    "not a name. [Policies](../how-to/posture.md) demand it.",
    types=(POSTURE,),
)
