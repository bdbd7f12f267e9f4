"""What the admin's reads say of the revocation log: pages of it, blocks, and how far and how fresh each agent is."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from inborn.errors import RequestError
from inborn_ca.signer.commands import revocations
from inborn_ca.signer.commands.queries import MAX_SEQ, Ledger
from inborn_ca.signer.propagation import Propagation
from inborn_proto import admin_pb2, ca_pb2
from tests.rigs.fixtures_ca import CaBench


def listed(ca: CaBench, **fields: int) -> admin_pb2.ListRevocationsResponse:
    return Ledger(ca.state).revocations(ca.reader, admin_pb2.ListRevocationsRequest(**fields))


def test_log_is_read_page_by_page_and_blocks_come_with_the_first(ca_bench: CaBench) -> None:
    for number in range(5):
        ca_bench.revoke(spiffe_id=f"spiffe://example.org/{number}")
    first = listed(ca_bench, limit=2)
    second = listed(ca_bench, limit=2, after_seq=first.revocations[-1].seq)
    last = listed(ca_bench, limit=2, after_seq=second.revocations[-1].seq)
    assert [[r.seq for r in page.revocations] for page in (first, second, last)] == [[1, 2], [3, 4], [5]]
    assert [page.more for page in (first, second, last)] == [True, True, False]
    assert [len(page.blocks) for page in (first, second, last)] == [5, 0, 0]
    assert {page.revocation_seq for page in (first, second, last)} == {5}


def test_page_that_begins_beyond_every_number_is_refused(ca_bench: CaBench) -> None:
    assert not listed(ca_bench, after_seq=MAX_SEQ).revocations
    with pytest.raises(RequestError, match="after_seq"):
        listed(ca_bench, after_seq=MAX_SEQ + 1)


def test_dry_run_says_that_the_number_has_to_be_named(ca_bench: CaBench, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, entry = ca_bench.enroll(), ca_bench.create_entry()
    ca_bench.issue(agent, entry.id)
    assert not ca_bench.revoke(entry=entry.id, dry_run=True).needs_count
    monkeypatch.setattr(revocations, "BULK_GUARD", 0)
    assert ca_bench.revoke(entry=entry.id, dry_run=True).needs_count


def test_agents_are_listed_with_when_they_were_heard(ca_bench: CaBench) -> None:
    agents = [ca_bench.enroll(name=name) for name in ("one", "two")]
    propagation = Propagation(ca_bench.clock)
    propagation.connected(agents[0].spiffe_id)
    propagation.connected(agents[1].spiffe_id)
    propagation.acknowledged(agents[0].spiffe_id, ca_pb2.WatchAck(revocation_seq=7))
    heard = {agent.name: agent for agent in Ledger(ca_bench.state).agents(ca_bench.reader, propagation).agents}
    assert heard["one"].heard_at.ToDatetime(tzinfo=dt.UTC) == ca_bench.clock()
    assert heard["one"].revocation_seq == 7
    assert not heard["two"].HasField("heard_at")
    assert asyncio.run(propagation.wait(7, 0)).applied == 1
