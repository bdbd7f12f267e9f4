"""Registration entries: what may exist, and whom they entitle."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain, parse_spiffe_id
from inborn.errors import RequestError
from inborn_ca.model.records import Member, MemberKind
from inborn_ca.model.registration_entry import (
    Entry,
    EntryDenied,
    InvalidEntry,
    NodeKind,
    NodeMatch,
    check_entry,
    decide,
    entry_warnings,
    find_duplicate,
)

TD = TrustDomain("example.org")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
AGENT_ID = "spiffe://example.org/inborn/agent/a1"


def selectors(*texts: str) -> frozenset:
    return frozenset(parse_selector(text) for text in texts)


def an_entry(**changes: object) -> Entry:
    entry = Entry(
        id="e1",
        spiffe_id=parse_spiffe_id("spiffe://example.org/web"),
        selectors=selectors("unix:uid:1000", "unix:path:/usr/bin/web"),
        node=NodeMatch.parse(AGENT_ID, TD),
        ttl=dt.timedelta(hours=1),
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(entry, **changes)


def an_agent(**changes: object) -> Member:
    agent = Member(
        spiffe_id=parse_spiffe_id(AGENT_ID),
        kind=MemberKind.AGENT,
        enrolled_at=NOW,
        name="web-1",
        groups=("web", "eu"),
    )
    return replace(agent, **changes)


def check(entry: Entry) -> None:
    check_entry(
        entry,
        trust_domain=TD,
        min_ttl=dt.timedelta(minutes=1),
        max_ttl=dt.timedelta(hours=24),
        ca_names=("ca.example.org",),
    )


@pytest.mark.parametrize(
    "entry",
    [
        an_entry(),
        an_entry(dns_names=("web", "web.example.org", "xn--bcher-kva.example", "a-1.b2", "alt", "spiffe.alto")),
        an_entry(common_name="web user", hint="für das Web"),
        an_entry(common_name="x" * 64, hint="x" * 1024),
        an_entry(ttl=dt.timedelta(minutes=1)),
        an_entry(ttl=dt.timedelta(hours=24)),
        an_entry(node=NodeMatch(kind=NodeKind.ANY)),
        an_entry(node=NodeMatch(kind=NodeKind.GROUP, value="eu")),
        an_entry(selectors=selectors("docker:label:a:*")),
        an_entry(spiffe_id=parse_spiffe_id("spiffe://example.org/inbornx")),
    ],
)
def test_an_entry_that_is_right_is_accepted(entry: Entry) -> None:
    check(entry)


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (an_entry(id=""), "entry id"),
        (an_entry(id="a/b"), "entry id"),
        (an_entry(spiffe_id=parse_spiffe_id("spiffe://other.org/web")), "outside the trust domain"),
        (an_entry(spiffe_id=TD.id), "no path"),
        (an_entry(spiffe_id=parse_spiffe_id("spiffe://example.org/inborn")), "reserved"),
        (an_entry(spiffe_id=parse_spiffe_id("spiffe://example.org/inborn/ca/1")), "reserved"),
        (an_entry(selectors=frozenset()), "no selector"),
        (an_entry(selectors=selectors(*(f"unix:gid:{i}" for i in range(65)))), "at most 64"),
        (an_entry(ttl=dt.timedelta(seconds=59)), "ttl 59s is not between 1m and 1d"),
        (an_entry(ttl=dt.timedelta(hours=24, seconds=1)), "ttl"),
        (an_entry(ttl=dt.timedelta(seconds=-60)), "ttl"),
        (an_entry(ttl=dt.timedelta()), "ttl"),
        (an_entry(ttl=dt.timedelta(seconds=61.5)), "whole seconds"),
        (an_entry(node=NodeMatch(kind=NodeKind.AGENT, value="spiffe://other.org/inborn/agent/a")), "outside"),
        (an_entry(node=NodeMatch(kind=NodeKind.AGENT, value="spiffe://example.org/web")), "not the ID of an agent"),
        (an_entry(dns_names=("*.example.org",)), "wildcard"),
        (an_entry(dns_names=("*",)), "wildcard"),
        (an_entry(dns_names=("Web",)), "lower case"),
        (an_entry(dns_names=("spiffe.alt",)), "reserved"),
        (an_entry(dns_names=("x.spiffe.alt",)), "reserved"),
        (an_entry(dns_names=("ca.example.org",)), "reserved"),
        (an_entry(dns_names=("x.ca.example.org",)), "reserved"),
        (an_entry(dns_names=("spiffe.alt.",)), "label"),
        (an_entry(dns_names=("",)), "label"),
        (an_entry(dns_names=("a..b",)), "label"),
        (an_entry(dns_names=("a b",)), "label"),
        (an_entry(dns_names=("a\n",)), "label"),
        (an_entry(dns_names=("a_b",)), "label"),
        (an_entry(dns_names=("-a",)), "label"),
        (an_entry(dns_names=("a-",)), "label"),
        (an_entry(dns_names=("ü.example",)), "label"),
        (an_entry(dns_names=("a" * 64,)), "label"),
        (an_entry(dns_names=(".".join(["a" * 63] * 4),)), "longer"),
        (an_entry(dns_names=("10.0.0.1",)), "IP address"),
        (an_entry(dns_names=("web", "web")), "twice"),
        (an_entry(dns_names=tuple(f"n{i}" for i in range(17))), "at most 16"),
        (an_entry(common_name="x" * 65), "64"),
        (an_entry(common_name="a\nb"), "control characters"),
        (an_entry(common_name=" a"), "blank"),
        (an_entry(common_name="*.example.org"), "wildcard"),
        (an_entry(common_name="x.SPIFFE.alt"), "reserved"),
        (an_entry(common_name="ca.example.org"), "reserved"),
        (an_entry(hint="x" * 1025), "1024"),
        (an_entry(hint="ü" * 513), "1024"),
        (an_entry(hint="a\x1b[2J"), "control characters"),
        (an_entry(hint="a\ud800"), "control characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_entry_that_is_wrong_is_refused_by_the_rule(entry: Entry, rule: str) -> None:
    with pytest.raises(RequestError, match=rule) as caught:
        check(entry)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        AGENT_ID,
        "spiffe://example.org/inborn/agent/x509pop/0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33",
        "name:web-1",
        "group:eu",
        "selector:x509pop:subject:cn:web 1",
        "any",
    ],
)
def test_a_node_is_written_as_it_is_read(text: str) -> None:
    assert str(NodeMatch.parse(text, TD)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anybody",
        "ANY",
        "any:",
        "name:",
        "name:a b",
        "group:a/b",
        "name:" + "x" * 65,
        "agent:a1",
        "selector:",
        "selector:x509pop",
        "selector:x509pop:",
        "selector:x509pop:subject:cn:a\n",
        "spiffe://example.org/inborn/agent",
        "spiffe://example.org/web",
        "spiffe://other.org/inborn/agent/a1",
        "spiffe://example.org/inborn/agent/a1\n",
        "*",
    ],
)
def test_a_node_that_is_none_is_refused(text: str) -> None:
    if text == "spiffe://example.org/inborn/agent/a1\n":
        assert NodeMatch.parse(text, TD).value == AGENT_ID  # what a person types may have blanks around it
        return
    with pytest.raises(RequestError):
        NodeMatch.parse(text, TD)


@pytest.mark.parametrize(
    ("text", "agent", "matches"),
    [
        (AGENT_ID, an_agent(), True),
        (AGENT_ID, an_agent(spiffe_id=parse_spiffe_id(AGENT_ID + "1")), False),
        ("selector:x509pop:subject:cn:web-1", an_agent(selectors=(parse_selector("x509pop:subject:cn:web-1"),)), True),
        ("selector:x509pop:subject:cn:web", an_agent(selectors=(parse_selector("x509pop:subject:cn:web-1"),)), False),
        ("selector:x509pop:subject:cn:web-1", an_agent(), False),
        ("name:web-1", an_agent(), True),
        ("name:web", an_agent(), False),
        ("group:eu", an_agent(), True),
        ("group:e", an_agent(), False),
        ("any", an_agent(), True),
        ("any", an_agent(kind=MemberKind.DAEMON), False),
    ],
)
def test_a_node_matches_agents_only_and_exactly(text: str, agent: Member, matches: bool) -> None:
    assert NodeMatch.parse(text, TD).matches(agent) is matches


def test_more_selectors_than_the_entry_wants_are_granted() -> None:
    entry = an_entry(dns_names=("web",), common_name="web")
    grant = decide(entry, agent=an_agent(), selectors=entry.selectors | selectors("unix:gid:5"))
    assert grant.spiffe_id == SpiffeId(trust_domain=TD, path="/web")
    assert (grant.ttl, grant.dns_names, grant.common_name, grant.entry_id) == (entry.ttl, ("web",), "web", "e1")


def test_a_denial_names_the_rule() -> None:
    entry, agent = an_entry(), an_agent()
    with pytest.raises(EntryDenied, match="no such entry"):
        decide(None, agent=agent, selectors=entry.selectors)
    with pytest.raises(EntryDenied, match="is for node"):
        decide(entry, agent=an_agent(spiffe_id=parse_spiffe_id(AGENT_ID + "1")), selectors=entry.selectors)
    with pytest.raises(EntryDenied, match="wants unix:path:/usr/bin/web") as caught:
        decide(entry, agent=agent, selectors=selectors("unix:uid:1000"))
    assert caught.value.facts["missing"] == (parse_selector("unix:path:/usr/bin/web"),)
    with pytest.raises(EntryDenied, match="banned"):
        decide(entry, agent=an_agent(banned_at=NOW), selectors=entry.selectors)


def test_an_entry_without_selectors_grants_nothing_even_if_it_exists() -> None:
    with pytest.raises(EntryDenied):
        decide(an_entry(selectors=frozenset()), agent=an_agent(), selectors=selectors("unix:uid:1000"))


def test_a_star_in_a_selector_is_a_star() -> None:
    entry = an_entry(selectors=selectors("docker:label:app:*"))
    with pytest.raises(EntryDenied):
        decide(entry, agent=an_agent(), selectors=selectors("docker:label:app:web"))
    decide(entry, agent=an_agent(), selectors=selectors("docker:label:app:*"))


def test_a_duplicate_is_the_same_id_selectors_and_node() -> None:
    entry = an_entry(id="new")
    assert find_duplicate(entry, [an_entry()]) == an_entry()
    assert find_duplicate(entry, [an_entry(id="new")]) is None
    assert find_duplicate(entry, [an_entry(node=NodeMatch(kind=NodeKind.ANY))]) is None
    assert find_duplicate(entry, [an_entry(selectors=selectors("unix:uid:1000"))]) is None


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("unix:uid:1000", "unix:path:/x"), []),
        (("unix:path:/x", "unix:sha256:" + "0" * 64), ["programs apart, not parties"]),
        (("docker:label:app:web",), ["whoever started"]),
    ],
)
def test_an_entry_without_a_boundary_between_parties_draws_a_warning(texts: tuple[str, ...], words: list[str]) -> None:
    warnings = entry_warnings(an_entry(selectors=selectors(*texts)))
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_any_node_draws_a_warning() -> None:
    assert any("any node" in warning for warning in entry_warnings(an_entry(node=NodeMatch(kind=NodeKind.ANY))))


def test_a_node_with_a_bad_name_cannot_exist() -> None:
    with pytest.raises(InvalidEntry):
        NodeMatch(kind=NodeKind.NAME, value="a\nb")
    with pytest.raises(InvalidEntry):
        NodeMatch(kind=NodeKind.ANY, value="x")
