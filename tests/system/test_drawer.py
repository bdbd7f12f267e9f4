"""A machine that was off for a month, or whose clock was set: the processes see a clock that libfaketime shows them."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, spiffe_id, wait_for_paths
from tests.rigs.up_rig import environment

LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib/faketime/libfaketime.so.1")

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime: not installed")
DAY = 24 * 3600


def shifted(days: int) -> dict[str, str]:
    """What makes a process see the wall clock so many days ahead. Its monotonic clock is left alone, as it is when
    somebody sets the clock of a machine."""
    return _preloaded({"FAKETIME": f"+{days}d"})


class FakedClock:
    """The wall clock of all processes that get `environment`: the real one and an offset, which `set` changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        partial = self._path.with_suffix(".new")
        partial.write_text(f"{seconds:+d}s\n")
        os.replace(partial, self._path)

    @property
    def environment(self) -> dict[str, str]:
        return _preloaded({"FAKETIME_TIMESTAMP_FILE": str(self._path), "FAKETIME_NO_CACHE": "1"})


def _preloaded(settings: dict[str, str]) -> dict[str, str]:
    return settings | {
        "LD_PRELOAD": LIBRARIES[0],
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # the name that older versions know
    }


@pytest.fixture
def clock(tmp_path: Path) -> FakedClock:
    return FakedClock(tmp_path / "clock")


def cli(machine: Machine, *arguments: str) -> str:
    """The command, with the machine's clock."""
    ran = subprocess.run(
        [sys.executable, "-m", "inborn_cli", *arguments],
        env=environment() | machine.environment | {"INBORN_DATA_DIR": str(machine.data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("days", [40, 70, 400])
def test_after_a_long_time_in_a_drawer_it_goes_on_by_itself(machines: Callable[..., Machine], days: int) -> None:
    """40 days: the agent's certificate has expired; 70: the issuing authority too; 400: the root's CRL too."""
    machine = machines()
    machine.start()
    entry = machine.entry("/web")
    before = [agent.spiffe_id for agent in machine.agents_listed()]
    machine.stop()
    machine.environment = shifted(days)
    machine.start()
    machine.wait_serving()
    assert [agent.spiffe_id for agent in machine.agents_listed()] == before  # the same agent, enrolled anew
    assert [e.id for e in machine.ask("ListEntries", admin_pb2.ListEntriesRequest()).entries] == [entry]
    (svid,) = json.loads(cli(machine, "svid", "fetch", "--json"))
    assert svid["spiffe_id"] == spiffe_id("/web")
    status = machine.status()
    now = time.time() + days * DAY
    assert [a.state for a in status.authorities if a.kind == "issuing"].count("active") == 1
    for authority in status.authorities:
        assert authority.not_after.ToSeconds() > now
    assert not status.alarms


def test_clock_that_jumps_far_ahead_while_it_runs_is_survived(
    machines: Callable[..., Machine], clock: FakedClock
) -> None:
    """As a machine does that was suspended: everything has expired, and every process finds out by itself."""
    machine = machines(environment=clock.environment)
    machine.start()
    machine.entry("/web")
    clock.set(70 * DAY)
    (svid,) = json.loads(cli(machine, "svid", "fetch", "--json", "--timeout", "90s"))
    assert svid["spiffe_id"] == spiffe_id("/web")


def test_clock_set_back_by_an_hour_brings_nothing_to_life_and_lets_nothing_escape(
    machines: Callable[..., Machine], clock: FakedClock
) -> None:
    clock.set(-2 * 3600)
    machine = machines(environment=clock.environment)
    machine.start()  # CA and agent have certificates that are valid an hour ago
    clock.set(0)
    for path in ("/before", "/between"):
        machine.entry(path, ttl_seconds=4 * 3600)
    with machine.source() as source:
        wait_for_paths(source, "/before", "/between")
        certificates = {svid.spiffe_id.path: svid.facts for svid in source.snapshot().svids}
        machine.wait_applied(machine.revoke("/before").revocation_seq)

        clock.set(-3600)
        began = time.monotonic()
        answer = machine.revoke("/between")
        assert answer.certificates == 1  # issued an hour ahead of the clock, and found all the same
        machine.wait_applied(answer.revocation_seq)
        wait_for_paths(source)
        revocations = source.snapshot().revocations
        assert all(revocations.find(facts) is not None for facts in certificates.values())
        heard = machine.agent_status().last_heard_ms / 1000
        assert heard <= time.monotonic() - began, "what the CA says now does not count as news"

        for path in certificates:
            machine.ask("Unblock", admin_pb2.UnblockRequest(target=f"id:{spiffe_id(path)}"))
        wait_for_paths(source, "/before", "/between")
        for svid in source.snapshot().svids:
            assert revocations.find(svid.facts) is None  # the old rules do not touch what is new
            assert svid.facts.serial > max(facts.serial for facts in certificates.values())
            assert svid.facts.not_before < certificates["/before"].not_before
        assert all(source.snapshot().revocations.find(facts) is not None for facts in certificates.values())
        newest = max(svid.facts.serial for svid in source.snapshot().svids)

        machine.stop()  # and it holds across a start
        machine.start()
        machine.wait_serving()
        machine.entry("/after", ttl_seconds=4 * 3600)
        wait_for_paths(source, "/before", "/between", "/after")
        (after,) = [svid.facts for svid in source.snapshot().svids if svid.spiffe_id.path == "/after"]
        assert after.serial > newest
        assert all(source.snapshot().revocations.find(facts) is not None for facts in certificates.values())
