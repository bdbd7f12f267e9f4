"""What `inborn doctor` finds out about this host. Each finding says what it cannot stop, in plain words."""

from __future__ import annotations

import ctypes
import datetime as dt
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from inborn._internal.process.pinning import PinMode, supported_pin_mode
from inborn.errors import InbornError
from inborn_cli.workload.memory import file_system_of, private_memory_directory

__all__ = ["CheckResult", "Verdict", "check_host"]

# Nothing of Inborn was made before; a clock that says so was never set.
_EARLIEST = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)

# adjtimex(2): what it answers while nothing keeps the clock, and room for a struct timex of any architecture.
_TIME_ERROR = 5
_TIMEX_SIZE = 512

# A socket of this machine answers at once or not at all.
_CONNECT_TIMEOUT = 2.0  # seconds


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line: what was looked at, what was found, and what this host cannot stop as it is."""

    name: str
    verdict: Verdict
    found: str
    cannot_stop: str = ""
    hint: str = ""


def check_host(endpoint: str, admin_directory: Path) -> Iterator[CheckResult]:
    """Look at everything. `endpoint` is the Workload API's address; the directory is that of the CA's admin socket."""
    if not sys.platform.startswith("linux"):
        yield CheckResult(
            name="system",
            verdict=Verdict.WARNING,
            found=f"{sys.platform}: the library runs here, agent and CA do not",
            cannot_stop="anything: processes are attested on Linux only",
        )
        return
    yield check_pinning()
    yield check_ptrace()
    yield check_memory()
    yield check_swap(Path("/proc/swaps"))
    yield check_clock(dt.datetime.now(dt.UTC))
    yield check_endpoint(endpoint)
    yield check_admin_directory(admin_directory)


def check_pinning() -> CheckResult:
    """How the kernel says who is on the other end of a socket."""
    try:
        mode = supported_pin_mode()
    except InbornError as error:
        return CheckResult(
            name="pinning",
            verdict=Verdict.FAILED,
            found=error.message,
            cannot_stop="any process from passing for another: the agent refuses to serve",
            hint=error.hint,
        )
    if mode is PinMode.PEER_PIDFD:
        return CheckResult(
            name="pinning", verdict=Verdict.OK, found=f"{mode.value}: the kernel hands out the caller itself"
        )
    return CheckResult(
        name="pinning",
        verdict=Verdict.WARNING,
        found=f"{mode.value}: the caller is found by its number, start time and a proof of life",
        cannot_stop="a process that ends right after connecting from being taken for the next one of its number",
        hint="Linux 6.5 and later hand out the caller itself",
    )


def check_ptrace() -> CheckResult:
    """Whether processes of one user can read each other's memory, and with it each other's keys."""
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text(encoding="ascii").strip()
    except OSError:
        scope = "0"
    if scope in ("2", "3"):
        found = f"ptrace_scope {scope}: users cannot trace their own processes"
        return CheckResult(
            name="users", verdict=Verdict.OK, found=found, cannot_stop="one user's program from preloading into another"
        )
    return CheckResult(
        name="users",
        verdict=Verdict.WARNING,
        found=f"ptrace_scope {scope}: processes of one user can trace "
        + ("their own children" if scope == "1" else "each other"),
        cannot_stop="a process from taking the key of another one of the same user: one uid is no security boundary",
        hint="run each service under a user of its own",
    )


def check_memory() -> CheckResult:
    """Whether keys can be kept in memory across a restart of agent or program."""
    directory = private_memory_directory()
    if directory is not None:
        return CheckResult(
            name="keys", verdict=Verdict.OK, found=f"{directory} is in memory ({file_system_of(directory)})"
        )
    return CheckResult(
        name="keys",
        verdict=Verdict.WARNING,
        found="no directory in memory (tmpfs) that this user can write to",
        cannot_stop="keys of `inborn exec` from being written to a disk; an agent here caches none",
        hint="set XDG_RUNTIME_DIR or RuntimeDirectory=, or mount a tmpfs at /run",
    )


def check_swap(swaps: Path) -> CheckResult:
    """Whether what is in memory can end up on a disk all the same."""
    try:
        areas = [line.split()[0] for line in swaps.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    except OSError:
        areas = []
    disks = [area for area in areas if not area.startswith("/dev/zram")]
    if not disks:
        return CheckResult(name="swap", verdict=Verdict.OK, found="memory is not swapped to a disk")
    return CheckResult(
        name="swap",
        verdict=Verdict.WARNING,
        found=f"memory is swapped to {', '.join(disks)}",
        cannot_stop="a key in memory from being found on that disk, unless it is encrypted",
        hint="encrypt the swap, or use zram",
    )


def check_clock(now: dt.datetime) -> CheckResult:
    """Whether the clock can be believed: expiry is a matter of clocks, revocation is not."""
    cannot_stop = "certificates from being refused early or taken late; revocation does not depend on it"
    if now < _EARLIEST:
        return CheckResult(
            name="clock", verdict=Verdict.FAILED, found=f"it says {now:%Y-%m-%d}", cannot_stop=cannot_stop,
            hint="set the clock",
        )  # fmt: skip
    state = _clock_state()
    if state is None:
        return CheckResult(
            name="clock",
            verdict=Verdict.WARNING,
            found="this kernel does not say whether something keeps it",
            cannot_stop=cannot_stop,
        )
    if state == _TIME_ERROR:
        return CheckResult(
            name="clock",
            verdict=Verdict.WARNING,
            found="nothing keeps it (adjtimex: not synchronised)",
            cannot_stop=cannot_stop,
            hint="run chrony or systemd-timesyncd",
        )
    return CheckResult(name="clock", verdict=Verdict.OK, found="synchronised")


def _clock_state() -> int | None:
    """What adjtimex(2) answers when it is only asked."""
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE)))
    except (AttributeError, OSError):
        return None
    return state if state >= 0 else None


def check_endpoint(endpoint: str) -> CheckResult:
    """Whether somebody listens on the Workload API's address, and lets this user in."""
    from inborn._internal.address import parse_target
    from inborn._internal.source.workload_api import parse_endpoint

    kind, _, rest = parse_endpoint(endpoint).partition(":")
    try:
        if kind == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_CONNECT_TIMEOUT)
                connection.connect(rest)
        else:
            address = parse_target(rest)
            socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT).close()
    except OSError as error:
        return CheckResult(
            name="agent",
            verdict=Verdict.FAILED,
            found=f"{endpoint}: {(error.strerror or str(error)).lower()}",
            cannot_stop="programs here from being left without an identity",
            hint="start one with `inborn up` or `inborn agent run`; SPIFFE_ENDPOINT_SOCKET or --socket names it",
        )
    return CheckResult(name="agent", verdict=Verdict.OK, found=f"listens at {endpoint}")


def check_admin_directory(directory: Path) -> CheckResult:
    """Whether others than root and the CA's user can get at the CA's admin socket."""
    try:
        mode = directory.stat().st_mode & 0o777
    except FileNotFoundError:
        return CheckResult(name="CA", verdict=Verdict.OK, found="none here")
    except PermissionError:
        return CheckResult(name="CA", verdict=Verdict.OK, found="this user cannot enter its directory, as it should be")
    if mode & 0o077:
        return CheckResult(
            name="CA",
            verdict=Verdict.FAILED,
            found=f"{directory} has mode {mode:04o}",
            cannot_stop="other users from administering the CA",
            hint=f"chmod 0700 {directory}",
        )
    return CheckResult(name="CA", verdict=Verdict.OK, found=f"{directory} is closed to others")
