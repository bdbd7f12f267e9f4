"""A parent that passes signals and the exit status on, with real processes: driven by a program of a few lines."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

CLIENT = Path(__file__).resolve().parents[3] / "client"

# What `inborn exec` does, without the identity.
PARENT = """
import os, queue, sys
from inborn_cli.workload.foreground_child import ForegroundChild, Ended, PassedSignal, block_signals, watch_signals
mask = block_signals()
events = queue.SimpleQueue()
watch_signals(events)
child = ForegroundChild(sys.argv[1:], os.environ, mask=mask, events=events)
while True:
    event = events.get()
    if isinstance(event, Ended):
        sys.exit(event.status)
    if not event.is_everybodys:
        child.send(event.number)
"""

# Says what it gets, until it has got what it was told to wait for.
CHILD = """
import signal, sys, time
count = {}
def got(number, frame):
    count[number] = count.get(number, 0) + 1
    print(signal.Signals(number).name, flush=True)
for name in sys.argv[1].split(","):
    signal.signal(getattr(signal, name), got)
signal.signal(signal.SIGTERM, lambda *_: (print("times", *sorted(count.values()), flush=True), sys.exit(7)))
print("ready", flush=True)
while True:
    signal.pause()
"""


def start(*command: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", PARENT, *command],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        **options,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status_is_passed_on(status: int) -> None:
    assert start("sh", "-c", f"exit {status}").wait(30) == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_death_by_signal_is_128_and_the_number(number: int) -> None:
    assert start("sh", "-c", f"kill -{int(number)} $$").wait(30) == 128 + number


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH"])
def test_signals_reach_the_child_once(name: str) -> None:
    parent = start(sys.executable, "-c", CHILD, name)
    assert line_of(parent) == "ready"
    parent.send_signal(getattr(signal, name))
    assert line_of(parent) == name
    parent.terminate()
    assert line_of(parent) == "times 1"
    assert parent.wait(30) == 7


def signal_sets(text: str) -> dict[str, int]:
    """Blocked and ignored signals, as /proc/PID/status has them."""
    lines = (line.split() for line in text.splitlines() if line.startswith(("SigBlk:", "SigIgn:")))
    return {name: int(value, 16) for name, value in lines}


def test_child_starts_with_what_the_parent_was_started_with() -> None:
    ours = signal_sets(Path("/proc/self/status").read_text(encoding="utf-8"))
    # The interpreter ignores the first two, and a program that it starts must not; the others are glibc's own, which
    # posix_spawn sets to be ignored and glibc takes back when the program starts a thread.
    left_out = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ, 32, 33))
    out, _ = start("cat", "/proc/self/status").communicate(timeout=30)
    theirs = signal_sets(out)
    assert theirs["SigBlk:"] == ours["SigBlk:"]
    assert theirs["SigIgn:"] & ~left_out == ours["SigIgn:"] & ~left_out
    assert not theirs["SigIgn:"] & (1 << (signal.SIGPIPE - 1))


def test_control_c_on_a_terminal_reaches_the_child_once() -> None:
    master, slave = pty.openpty()
    take_terminal = f"import fcntl, termios, os; fcntl.ioctl({slave}, termios.TIOCSCTTY, 0)\n"
    code = f"import os; os.setsid()\n{take_terminal}import sys\n{PARENT}"
    parent = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", CHILD, "SIGINT"],
        stdin=slave,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[slave],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
    )
    assert line_of(parent) == "ready"
    os.write(master, b"\x03")
    assert line_of(parent) == "SIGINT"
    parent.send_signal(signal.SIGTERM)
    assert line_of(parent) == "times 1"
    assert parent.wait(30) == 7
    os.close(master)
    os.close(slave)


def test_program_that_is_not_there_is_an_error() -> None:
    code = PARENT.replace("child = ForegroundChild", "try:\n    child = ForegroundChild", 1).replace(
        "events=events)\n", "events=events)\nexcept FileNotFoundError:\n    sys.exit(127)\n", 1
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "/no/such/program"], env={**os.environ, "PYTHONPATH": str(CLIENT)}, check=False
    )
    assert ran.returncode == 127
