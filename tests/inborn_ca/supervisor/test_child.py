"""Processes and units, with programs of a line or two in the place of signer, front and agent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inborn_ca.supervisor.restarts import Restarts
from inborn_ca.supervisor.supervised_child import Account, SupervisedChild, spawn
from inborn_ca.supervisor.units import GaveUp, Unit, UnitState


def shell(name: str, script: str, account: Account | None = None) -> SupervisedChild:
    """A child that runs a line of bash (dash knows descriptors of one digit only); $1 is its ready pipe."""
    return spawn(name, lambda fd: ["/bin/bash", "-c", script, name, str(fd)], account=account)


def pump(units: list[Unit], until: Callable[[], bool], seconds: float = 20.0) -> None:
    """The supervisor's loop, in small."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it did not happen in time"
        pipes = {c.ready_fd: c for unit in units for c in unit.children if c.ready_fd >= 0}
        for fd in select.select(list(pipes), [], [], 0.01)[0]:
            pipes[fd].read_ready()
        for unit in units:
            unit.look(time.monotonic())


def patient(_deadline: float) -> bool:
    time.sleep(0.005)
    return False


SERVE = "echo ready >&$1; exec sleep 60"


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_unit_serves_once_all_its_processes_have_said_so() -> None:
    gate_read, gate_write = os.pipe()
    slow = lambda: spawn(  # noqa: E731 -- a factory in a word
        "slow", lambda fd: ["/bin/bash", "-c", f"read x <&{gate_read}; {SERVE}", "slow", str(fd)], pass_fds=[gate_read]
    )
    unit = Unit("both", lambda: [shell("quick", SERVE), slow()])
    unit.start()
    pump([unit], lambda: unit.children[0].is_ready)
    assert unit.state is UnitState.STARTING
    os.write(gate_write, b"go\n")
    pump([unit], lambda: unit.state is UnitState.SERVING)
    unit.stop(patient)
    assert all(is_gone(child.pid) for child in unit.children)


def test_facts_are_what_the_processes_say_of_themselves() -> None:
    unit = Unit("x", lambda: [shell("a", """echo '{"trust_domain": "example.org"}' >&$1; exec sleep 60""")])
    unit.start()
    pump([unit], lambda: unit.state is UnitState.SERVING)
    assert unit.facts == {"trust_domain": "example.org"}
    unit.stop(patient)


def test_when_one_dies_all_are_started_anew() -> None:
    unit = Unit("both", lambda: [shell("a", SERVE), shell("b", SERVE)])
    unit.start()
    pump([unit], lambda: unit.state is UnitState.SERVING)
    first = [child.pid for child in unit.children]
    os.kill(first[1], signal.SIGKILL)
    pump([unit], lambda: unit.state is UnitState.SERVING and unit.children[0].pid != first[0])
    assert all(is_gone(pid) for pid in first)
    unit.stop(patient)


def test_one_units_death_does_not_touch_another() -> None:
    ca, agent = Unit("ca", lambda: [shell("a", SERVE)]), Unit("agent", lambda: [shell("b", SERVE)])
    for unit in (ca, agent):
        unit.start()
    pump([ca, agent], lambda: ca.state is agent.state is UnitState.SERVING)
    untouched, victim = agent.children[0].pid, ca.children[0].pid
    os.kill(victim, signal.SIGKILL)
    pump([ca, agent], lambda: ca.state is UnitState.SERVING and ca.children[0].pid != victim)
    assert agent.children[0].pid == untouched
    ca.stop(patient)
    agent.stop(patient)


def test_who_says_why_it_cannot_start_is_not_tried_again() -> None:
    starts = []

    def start() -> list[SupervisedChild]:
        starts.append(1)
        return [shell("a", "exit 1"), shell("b", SERVE)]

    unit = Unit("CA", start)
    unit.start()
    with pytest.raises(GaveUp, match="CA does not start"):
        pump([unit], lambda: False)
    assert len(starts) == 1
    unit.stop(patient)


def test_who_crashes_while_it_starts_is_tried_again_up_to_the_limit() -> None:
    starts = []

    def start() -> list[SupervisedChild]:
        starts.append(1)
        return [shell("a", "kill -SEGV $$")]

    unit = Unit("CA", start, Restarts(max_failed_starts=4))
    unit.start()
    with pytest.raises(GaveUp, match="too often"):
        pump([unit], lambda: False)
    assert len(starts) == 4


def test_processes_are_told_to_end_last_one_first_and_each_is_waited_for(tmp_path: Path) -> None:
    # Not a shell: what it forks has its trap for a moment, and would say so too.
    code = """
import os, signal, sys, time
def end(*_):
    time.sleep(0.1)
    with open(sys.argv[3], "a") as log:
        print(sys.argv[1], file=log)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
os.write(int(sys.argv[2]), b"ready\\n")
while True:
    signal.pause()
"""
    log = tmp_path / "log"

    def child(name: str) -> SupervisedChild:
        return spawn(name, lambda fd: [sys.executable, "-c", code, name, str(fd), str(log)])

    unit = Unit("both", lambda: [child("signer"), child("front")])
    unit.start()
    pump([unit], lambda: unit.state is UnitState.SERVING)
    unit.stop(patient)
    assert log.read_text().split() == ["front", "signer"]


def test_impatience_kills_who_does_not_end() -> None:
    unit = Unit("x", lambda: [shell("deaf", "trap '' TERM; echo ready >&$1; while :; do sleep 0.05; done")])
    unit.start()
    pump([unit], lambda: unit.state is UnitState.SERVING)
    began = time.monotonic()
    unit.stop(lambda _: True)
    assert time.monotonic() - began < 5
    assert unit.children[0].process.returncode == -signal.SIGKILL


def test_children_end_with_their_parent_however_it_ends() -> None:
    code = (
        "import sys, time\n"
        "from inborn_ca.supervisor.supervised_child import spawn\n"
        "child = spawn('a', lambda fd: ['/bin/sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while not is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.root
def test_child_of_another_account_has_its_user_and_no_group_of_ours() -> None:
    child = shell(
        "id", 'echo "{\\"uid\\": \\"$(id -u)\\", \\"groups\\": \\"$(id -G)\\"}" >&$1', Account("nobody", 65534, 65534)
    )
    while child.ready_fd >= 0:
        child.read_ready()
    assert child.facts == {"uid": "65534", "groups": "65534"}
    child.process.wait()
