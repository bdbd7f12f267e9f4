"""Policies of the trust domain: what they demand is demanded of every entry below them, by the signer as well."""

from __future__ import annotations

from typing import Any

import pytest

from inborn._internal.selectors.demand import WORDS, DemandNotMet, parse_demand, unmet_demands
from inborn._internal.selectors.selector import parse_selector
from inborn.errors import InbornError, NotFoundError, RequestError
from inborn_ca.signer.commands.posture_policies import PosturePolicies
from inborn_proto import admin_pb2, feed_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench

SECURE = ["unix:uid:1000", "posture:seccomp:filter", "posture:cap_eff_lacks:CAP_SYS_ADMIN", "posture:userns:mapped"]


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


def policy(
    ca: CaBench, *demands: str, prefix: str = "spiffe://example.org/prod", note: str = ""
) -> admin_pb2.PosturePolicy:
    request = admin_pb2.CreatePosturePolicyRequest(id_prefix=prefix, demands=demands, note=note)
    made: admin_pb2.PosturePolicy = ca.run(PosturePolicies(ca.state).create(request, ADMIN))
    return made


def test_workload_without_what_a_rule_demands_is_refused_by_the_missing_fact(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry("/prod/db")
    ca.issue(agent, entry.id)
    policy(ca, "seccomp", "no-CAP_SYS_ADMIN", "not-host-userns")
    with pytest.raises(InbornError, match=r"posture:cap_eff_lacks:CAP_SYS_ADMIN") as caught:
        ca.issue(agent, entry.id)
    assert caught.value.kind == "DemandNotMet"
    svid = ca.issue(agent, entry.id, SECURE)
    row = ca.reader.ledger.get(svid.serial_number.to_bytes(19, "big"))
    assert row is not None
    assert set(map(str, row.selectors)) == set(SECURE)


def test_rule_holds_for_whole_segments_below_its_prefix_and_nothing_else(ca: CaBench) -> None:
    agent = ca.enroll()
    policy(ca, "seccomp")
    for path in ("/production/db", "/test/prod"):
        ca.issue(agent, ca.create_entry(path, selectors=[f"unix:path:{path}"]).id, [f"unix:path:{path}"])
    inside = ca.create_entry("/prod", selectors=["unix:uid:7"])
    with pytest.raises(InbornError, match="demands"):
        ca.issue(agent, inside.id, ["unix:uid:7"])


def test_deleted_rule_demands_nothing_more(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry("/prod/db")
    made = policy(ca, "seccomp")
    policies = PosturePolicies(ca.state)
    ca.run(policies.delete(admin_pb2.DeletePosturePolicyRequest(id=made.id), ADMIN))
    ca.issue(agent, entry.id)
    with pytest.raises(NotFoundError):
        ca.run(policies.delete(admin_pb2.DeletePosturePolicyRequest(id=made.id), ADMIN))


def test_rule_is_there_after_a_restart(ca: CaBench) -> None:
    policy(ca, "seccomp")
    agent, entry = ca.enroll(), ca.create_entry("/prod/db")
    ca.state.reload()
    with pytest.raises(InbornError, match="demands"):
        ca.issue(agent, entry.id)


def test_agents_hear_of_a_rule_with_their_entries(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry("/prod/db")
    member = ca.reader.members.get(agent.facts.spiffe_id)
    ca.feeds.open_node(agent.spiffe_id, member, ca.reader.entries.all())
    ca.published.clear()
    policy(ca, "seccomp")
    (message,) = [m for node, m in ca.published if node == agent.spiffe_id]
    (told,) = feed_pb2.FeedBody.FromString(message.body).node_update.entries
    assert (told.id, list(told.demands)) == (entry.id, ["posture:seccomp:filter|posture:seccomp:strict"])


def test_list_says_for_how_many_entries_a_rule_holds(ca: CaBench) -> None:
    ca.create_entry("/prod/db")
    ca.create_entry("/test/db", selectors=["unix:uid:2"])
    policy(ca, "seccomp", note="everything in production")
    (listed,) = PosturePolicies(ca.state).list().policies
    assert (listed.entries, listed.note, listed.created_by) == (1, "everything in production", ADMIN)
    shown = ca.entries.list(ca.reader, admin_pb2.ListEntriesRequest()).entries
    assert sorted(len(entry.demands) for entry in shown) == [0, 1]


@pytest.mark.parametrize(
    "fields",
    [
        {"demands": []},
        {"demands": ["nonsense"]},
        {"demands": ["posture:a|"]},
        {"demands": ["posture:a\nb"]},
        {"demands": [f"posture:x:{n}" for n in range(33)]},
        {"demands": ["|".join(f"posture:x:{n}" for n in range(17))]},
        {"id_prefix": "spiffe://other.org/prod"},
        {"id_prefix": "spiffe://example.org/inborn/agent"},
        {"note": "x" * 1025},
        {"note": "two\nlines"},
    ],
)
def test_bad_rules_are_refused(ca: CaBench, fields: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {"id_prefix": "spiffe://example.org/prod", "demands": ["seccomp"]} | fields
    with pytest.raises(RequestError):
        ca.run(PosturePolicies(ca.state).create(admin_pb2.CreatePosturePolicyRequest(**wanted), ADMIN))
    assert ca.reader.entries.policies() == []


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_is_a_demand_of_posture(word: str) -> None:
    assert all(selector.type == "posture" for selector in parse_demand(word).any_of)


def test_one_of_the_alternatives_is_enough_and_an_absent_fact_is_not() -> None:
    demand = parse_demand("not-host-userns")
    assert unmet_demands([demand], {parse_selector("posture:userns:nested")}) == []
    assert unmet_demands([demand], set()) == [demand]
    assert unmet_demands([demand], {parse_selector("posture:userns:host")}) == [demand]
    assert issubclass(DemandNotMet, InbornError)
