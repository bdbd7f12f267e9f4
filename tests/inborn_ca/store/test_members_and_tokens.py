"""What is looked up by name or counted for all at once, without reading every row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import NotFoundError
from inborn_ca.model.records import Member, MemberKind, Token
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.store.interface import Store
from inborn_ca.store.opening import open_store

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path, now=NOW)
    yield store
    store.close()


def a_member(path: str, kind: MemberKind, name: str = "") -> Member:
    spiffe_id = parse_spiffe_id(f"spiffe://example.org{path}")
    return Member(
        spiffe_id=spiffe_id, kind=kind, enrolled_at=NOW, attested_by="join_token", attested_subject="74", name=name
    )


def a_token(number: int) -> Token:
    return Token(
        id=bytes([number]),
        public_key=b"k",
        kind=MemberKind.AGENT,
        uses=10,
        created_at=NOW,
        expires_at=NOW,
        created_by="a",
    )


def test_an_agent_is_found_by_its_name_and_a_daemon_of_that_name_is_not(store: Store) -> None:
    agent, daemon = a_member("/inborn/agent/1", MemberKind.AGENT, "edge"), a_member("/d", MemberKind.DAEMON, "edge")
    with store.transaction() as tx:
        tx.members.put(daemon)
        assert tx.members.find_agent("edge") is None
        tx.members.put(agent)
        assert tx.members.find_agent("edge") == agent
    members = store.reader().members
    assert members.find_agent("other") is None
    assert sorted(member.kind for member in members.all()) == [MemberKind.AGENT, MemberKind.DAEMON]


def test_an_admin_finds_an_agent_by_id_or_name_and_nothing_else(store: Store) -> None:
    agent, daemon = a_member("/inborn/agent/1", MemberKind.AGENT, "edge"), a_member("/d", MemberKind.DAEMON)
    with store.transaction() as tx:
        tx.members.put(agent)
        tx.members.put(daemon)
    reader = store.reader()
    assert find_agent(reader, "edge") == find_agent(reader, str(agent.spiffe_id)) == agent
    for text in (
        "",
        "nobody",
        str(daemon.spiffe_id),
        "spiffe://example.org/inborn/agent/2",
        "spiffe://",
        "spiffe://%/",
    ):
        with pytest.raises(NotFoundError):
            find_agent(reader, text)


def test_uses_are_counted_for_all_tokens_at_once(store: Store) -> None:
    with store.transaction() as tx:
        for number in range(3):
            tx.tokens.add(a_token(number))
        for token, key in ((0, b"a"), (0, b"b"), (2, b"a")):
            tx.tokens.add_use(bytes([token]), key, parse_spiffe_id("spiffe://example.org/inborn/agent/1"), NOW)
    tokens = store.reader().tokens
    assert tokens.use_counts() == {b"\0": 2, b"\2": 1}
    assert [tokens.count_uses(bytes([number])) for number in range(3)] == [2, 0, 1]


def test_a_port_outlives_the_reader_that_it_is_of(store: Store) -> None:
    with store.transaction() as tx:
        tx.meta.set("a", "b")
    meta = store.reader().meta
    assert meta.get("a") == "b"
