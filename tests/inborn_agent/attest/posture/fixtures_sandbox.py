"""Processes that lock themselves in, and what the kernel then says of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import Evidence, Host
from inborn_agent.attest.posture.attestor import attest_posture
from tests.inborn_agent.relay.fixtures_relay import caller

NOBODY = 65534

# Goes after the beginning that all callers share: system calls that Python has no names for.
LOCKS = r"""
import struct, threading
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
REMOUNT_BIND_READ_ONLY, BIND, PRIVATE = 32 | 4096 | 1, 4096, (1 << 14) | (1 << 18)
# of capset(2), which glibc has no function for
CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "ppc64le": 184, "s390x": 185, "armv7l": 185, "i686": 185}

def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def become(uid, keep=False):
    "Another user, whose processes can look at this one all the same."
    if keep:
        check(libc.prctl(8, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    check(libc.prctl(4, 1, 0, 0, 0))

def no_new_privs():
    check(libc.prctl(38, 1, 0, 0, 0))

def seccomp_filter():
    "One that allows everything; of this thread alone."
    allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow)))
    check(libc.prctl(22, 2, program, 0, 0))

def capset(mask):
    "Effective and permitted, of this thread alone."
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", 0x20080522, 0)
    check(libc.syscall(CAPSET[os.uname().machine], header, struct.pack("=6I", low, low, 0, high, high, 0)))

def drop_bounding():
    for number in range(64):
        if libc.prctl(24, number, 0, 0, 0) != 0:
            break

def unshare(flags):
    check(libc.unshare(flags))

def mount(source, target, flags, kind=None):
    check(libc.mount(*(text.encode() if text else None for text in (source, target, kind)), flags, None))

def thread(work):
    "Run `work` in another thread, which stays."
    done = threading.Event()
    def run():
        work()
        done.set()
        threading.Event().wait()
    threading.Thread(target=run, daemon=True).start()
    done.wait()
"""

LockedIn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def locked_in(callers: list[subprocess.Popen[str]]) -> LockedIn:
    """Start a process that runs some code, with `argument` in `sys.argv`, and stays; returns when it has run it."""

    def start(code: str, argument: str = "-") -> subprocess.Popen[str]:
        process = caller(f"{LOCKS}\n{code}\nsay('done'); wait_for_line()", argument)
        callers.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n", f"it ended: {code}"
        return process

    return start


def evidence_of(process: subprocess.Popen[str], host: Host | None = None) -> Evidence:
    """What the posture attestor says of a process."""
    with pin_pid(process.pid) as pinned:
        return attest_posture(pinned, host or Host())


def posture_of(process: subprocess.Popen[str], host: Host | None = None) -> set[str]:
    """The same, as text without its type."""
    return {selector.value for selector in evidence_of(process, host).selectors}
