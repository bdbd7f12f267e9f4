"""kill -9 of every process at random moments, while certificates are issued and identities are revoked.

What must hold: a certificate that a client has received has a row; a revocation that was acknowledged is in the log and
in the set that every peer enforces; and it is always up again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.rigs.fixtures_up import Machine, Only, wait_for_paths
from tests.rigs.kill_rig import Load

PROCESSES = ("signer", "front", "agent", "supervisor")


@pytest.mark.timeout(600)  # twenty starts: half a minute, and five where nothing is compiled and the machine is busy
def test_killed_at_random_moments_nothing_that_was_said_is_lost(machines: Callable[..., Machine]) -> None:
    machine = machines()
    machine.start()
    with Load(machine) as load:
        for _ in range(5):
            for name in random.sample(PROCESSES, len(PROCESSES)):
                load.wait_for_progress(random.randrange(1, 8))
                machine.kill(name)
                machine.wait_serving()
    assert load.issued >= 20
    load.check_ledger()
    load.check_revocations()


def test_killed_all_at_once_it_goes_on_where_it_was(machines: Callable[..., Machine]) -> None:
    machine = machines()
    machine.start()
    machine.entry("/web")
    with machine.source() as source:
        first = source.svid.leaf
        before, agents = machine.status(), [agent.spiffe_id for agent in machine.agents_listed()]
        machine.kill("supervisor")  # the kernel takes the others with it
        machine.wait_serving()
        after = machine.status()
        for name in ("trust_domain", "log_id", "bootstrap_address", "api_address", "entries", "revocation_seq"):
            assert getattr(after, name) == getattr(before, name)
        assert [agent.spiffe_id for agent in machine.agents_listed()] == agents
        machine.entry("/another")
        wait_for_paths(source, "/web", "/another")
        assert Only(source, "/web").svid.leaf == first  # kept by the agent across its death
