"""One CA, several machines: `inborn ca run` and an `inborn agent run` on each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, Only, wait_for_paths, wait_for_snapshot
from tests.rigs.up_rig import wait_until


@pytest.fixture
def ca(machines: Callable[..., Machine]) -> Machine:
    ca = machines("ca", verb=("ca", "run"))
    ca.start()
    return ca


@pytest.fixture
def nodes(ca: Machine, machines: Callable[..., Machine]) -> tuple[Machine, Machine]:
    """Two machines, `one` of the group `web` and `two` of none."""
    one, two = machines("one"), machines("two")
    one.start_agent(ca.bootstrap_address, ca.token(name="one", groups=["web"]))
    two.start_agent(ca.bootstrap_address, ca.token(name="two"))
    return one, two


def test_each_machine_has_what_is_registered_for_it(ca: Machine, nodes: tuple[Machine, Machine]) -> None:
    one, two = nodes
    agents = {agent.name: agent.spiffe_id for agent in ca.agents_listed()}
    for path, node in (("/name", "name:one"), ("/group", "group:web"), ("/any", "any"), ("/id", agents["two"])):
        ca.entry(path, node=node)
    with one.source() as first, two.source() as second:
        wait_for_paths(first, "/name", "/group", "/any")
        wait_for_paths(second, "/any", "/id")
        shared = Only(first, "/any").svid, Only(second, "/any").svid
        assert shared[0].facts.key_hash != shared[1].facts.key_hash
        rows = ca.ledger()
        assert {rows[svid.facts.serial.hex()].node for svid in shared} == set(agents.values())


def test_banned_agent_is_out_at_once_with_all_that_it_vouched_for(ca: Machine, nodes: tuple[Machine, Machine]) -> None:
    one, two = nodes
    ca.entry("/any", node="any")
    with one.source() as first, two.source() as second:
        wait_for_paths(first, "/any")
        wait_for_paths(second, "/any")
        of_banned, of_other = first.svid.facts, second.svid.facts
        answer = ca.ask("BanAgent", admin_pb2.BanAgentRequest(agent="one"))
        states = {agent.name: agent.state for agent in ca.agents_listed()}
        assert states == {"one": "banned", "two": "active"}
        wait_for_snapshot(
            second,
            lambda s: s.revocations.find(of_banned) is not None,
            "the other machine's peers refuse what the banned agent fetched",
        )
        assert second.snapshot().revocations.find(of_other) is None
        assert answer.certificates >= 2  # its own and its workload's
        wait_until(lambda: ca.status().agents_connected == 1, "its stream has ended")
        ca.entry("/later", node="any")
        wait_for_paths(second, "/any", "/later")
        assert "/later" not in {svid.spiffe_id.path for svid in first.snapshot().svids}
        assert len([row for row in ca.ledger().values() if row.spiffe_id.endswith("/later")]) == 1


def test_token_is_good_for_one_machine(ca: Machine, machines: Callable[..., Machine]) -> None:
    token = ca.token(name="one")
    machines("one").start_agent(ca.bootstrap_address, token)
    second = machines("two").start_agent(ca.bootstrap_address, token, is_awaited=False)
    assert second.process.wait(60) == 1
    second.reader.join(10)
    assert "has been used 1 of 1 times" in second.stderr
    (alarm,) = ca.status().alarms
    assert alarm.kind == "token.second_key"


def test_agent_of_another_ca_says_so_and_tells_it_nothing(ca: Machine, machines: Callable[..., Machine]) -> None:
    other = machines("other", verb=("ca", "run"))
    other.start()
    stranger = machines("one").start_agent(other.bootstrap_address, ca.token(name="one"), is_awaited=False)
    assert stranger.process.wait(60) == 1
    stranger.reader.join(10)
    assert "bundle" in stranger.stderr
    assert not other.agents_listed()
