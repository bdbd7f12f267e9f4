"""What the agent tells the CA of its workloads, and in how many messages."""

from __future__ import annotations

from inborn.selector import parse_selector
from inborn_agent.issuing import MAX_REPORTED, in_batches, reported
from inborn_agent.slots import Want
from tests.unit.test_agent_cache import UID, entry


def test_what_the_ca_is_told_of_too_many_facts_is_what_the_entry_wants_and_the_strongest() -> None:
    label = parse_selector("docker:label:zzz:1")
    wanted = entry(selectors=frozenset({label}))
    many = frozenset(parse_selector(f"docker:label:a{number}:1") for number in range(400)) | UID | {label}
    told = reported(many, wanted)
    assert len(told) == MAX_REPORTED
    assert {str(label), "unix:uid:1000"} <= set(told)
    assert list(told) == sorted(told)
    assert reported(UID, wanted) == ("unix:uid:1000",)


def test_long_facts_of_one_workload_go_in_a_message_of_their_own() -> None:
    long = frozenset(parse_selector(f"docker:label:{number}:{'x' * 900}") for number in range(200))
    short = Want(entry=entry(), selectors=UID)
    wants = [short, short, Want(entry=entry(), selectors=long), short]
    assert [len(batch) for batch in in_batches(wants, limit=100_000)] == [2, 1, 1]
    assert [len(batch) for batch in in_batches(wants)] == [4]
    assert list(in_batches([])) == []
