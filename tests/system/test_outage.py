"""The CA is away, or silent: what was issued goes on, nothing expired is served, and it recovers by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from inborn.errors import UnavailableError
from tests.rigs.fixtures_up import Machine, Only, wait_for_paths, wait_for_snapshot
from tests.rigs.up_rig import wait_until


def test_outage_of_the_ca_is_none_of_the_services_also_when_the_agent_restarts_meanwhile(
    machines: Callable[..., Machine],
) -> None:
    ca, node = machines("ca", verb=("ca", "run")), machines("node")
    ca.start()
    address, token = ca.bootstrap_address, ca.token(name="node")
    agent = node.start_agent(address, token)
    for path, ttl in (("/long", 600), ("/short", 4)):
        ca.entry(path, node="name:node", ttl_seconds=ttl)
    with node.source() as source:
        wait_for_paths(source, "/long", "/short")
        long = Only(source, "/long").svid
        ca.supervisor.end(signal.SIGKILL)
        with node.source() as newcomer:  # attested anew, while the CA is away
            assert Only(newcomer, "/long").svid.leaf == long.leaf

        agent.end(signal.SIGKILL)
        node.start_agent(address, token)
        with node.source() as newcomer:
            assert Only(newcomer, "/long").svid.leaf == long.leaf
            wait_for_snapshot(newcomer, lambda s: len(s.svids) == 1, "what has expired is not served")
            assert newcomer.svid.leaf == long.leaf
            with pytest.raises(UnavailableError):
                ca.status()

            ca.start()
            wait_for_paths(newcomer, "/long", "/short")
            ca.entry("/new", node="name:node")
            wait_for_paths(newcomer, "/long", "/short", "/new")
            assert [a.state for a in ca.agents_listed()] == ["active"]


def test_front_that_is_silent_is_known_by_the_age_of_what_is_known(machine: Machine) -> None:
    """It may be stopped, cut off, or captured: no heartbeat comes, and whoever wants to can refuse to go on."""
    machine.entry("/web")
    with machine.source() as source:

        def age() -> float:
            found = source.snapshot().age(time.monotonic())
            return 1e9 if found is None else found.total_seconds()

        wait_until(lambda: age() < 5, "the CA is heard", 20)
        pid = machine.supervisor.children()["front"]
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: age() > 6.5, "what is known gets old", 20)  # a beat comes every five seconds
            assert machine.agent_status().last_heard_ms > 6000
            assert source.svid.spiffe_id.path == "/web"
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: age() < 5, "the CA is heard again", 30)
