"""The ledger: what is listed, what is alive, and what is pruned."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import InternalError
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.model.records import (
    AuditRow,
    BlockKind,
    CertificateKind,
    Issued,
    Member,
    MemberKind,
    RequesterKey,
    SvidKind,
    Token,
)
from inborn_ca.store.interface import CertificateFilter, Store
from inborn_ca.store.opening import open_store

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = 24 * HOUR
WEB = parse_spiffe_id("spiffe://example.org/web")
DB = parse_spiffe_id("spiffe://example.org/db")
NODE = parse_spiffe_id("spiffe://example.org/inborn/agent/a")
SELECTORS = (parse_selector("unix:uid:1"), parse_selector("docker:label:a:b"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path, now=NOW)
    yield store
    store.close()


@pytest.fixture
def serials() -> SerialSource:
    return SerialSource()


def a_row(serials: SerialSource, now: dt.datetime, life: dt.timedelta = HOUR, **changes: object) -> Issued:
    row = Issued(
        serial=serials.next(now, os.urandom(11)),
        spiffe_id=WEB,
        kind=CertificateKind.WORKLOAD,
        key_hash=os.urandom(32),
        authority=b"\1" * 20,
        issued_at=now,
        not_after=now + life,
        selectors=SELECTORS,
    )
    return replace(row, **changes)


def add(store: Store, *rows: Issued) -> None:
    with store.transaction() as tx:
        for row in rows:
            tx.ledger.add(row)


def test_rows_are_listed_by_what_is_asked_for(store: Store, serials: SerialSource) -> None:
    rows = [
        a_row(serials, NOW, spiffe_id=WEB, node=NODE, entry_id="e1"),
        a_row(serials, NOW + HOUR, spiffe_id=DB, node=NODE, entry_id="e2"),
        a_row(serials, NOW + 2 * HOUR, spiffe_id=NODE, kind=CertificateKind.AGENT, life=7 * DAY, selectors=()),
        a_row(serials, NOW + 3 * HOUR, spiffe_id=WEB, entry_id="e3"),
    ]
    add(store, *rows)
    reader = store.reader()

    def found(**where: object) -> list[int]:
        return [rows.index(row) for row in reader.ledger.select(CertificateFilter(**where))]  # type: ignore[arg-type]

    assert found() == [0, 1, 2, 3]
    assert found(spiffe_id=WEB) == [0, 3]
    assert found(spiffe_id=parse_spiffe_id("spiffe://example.org/we")) == []
    assert found(node=NODE) == [0, 1]
    assert found(entry_id="e2") == [1]
    assert found(entry_id="e") == []
    assert found(issued_after=NOW + HOUR) == [1, 2, 3]
    assert found(issued_before=NOW + HOUR) == [0]
    assert found(issued_after=NOW + HOUR, issued_before=NOW + 3 * HOUR) == [1, 2]
    assert found(alive_at=NOW + 2 * HOUR) == [1, 2, 3]  # the first has expired, the second dies with this second
    assert found(alive_at=NOW + 2 * HOUR + dt.timedelta(microseconds=1)) == [2, 3]
    assert found(alive_at=NOW + 5 * DAY) == [2]
    assert found(alive_at=NOW + 8 * DAY) == []
    assert found(limit=2) == [0, 1]
    assert found(limit=2, after_serial=rows[1].serial) == [2, 3]
    assert found(after_serial=rows[3].serial) == []
    assert found(alive_at=NOW + 5 * DAY, after_serial=rows[0].serial, spiffe_id=NODE) == [2]
    assert found(alive_at=NOW + 5 * DAY, after_serial=rows[2].serial) == []
    assert reader.ledger.get(rows[0].serial) == rows[0]
    assert reader.ledger.get(b"") is None
    assert reader.ledger.get(b"\1" * 19) is None


def test_a_clock_that_was_set_back_hides_nothing(store: Store, serials: SerialSource) -> None:
    ahead = a_row(serials, NOW + 365 * DAY)
    back = a_row(serials, NOW)  # its serial says a year from now
    add(store, ahead, back)
    reader = store.reader()
    assert reader.ledger.select(CertificateFilter(alive_at=NOW)) == [ahead, back]
    assert reader.ledger.select(CertificateFilter(issued_before=NOW + HOUR)) == [back]
    assert reader.ledger.select(CertificateFilter(issued_after=NOW, issued_before=NOW + HOUR)) == [back]
    with store.transaction() as tx:
        assert tx.prune(issued_expired_before=NOW + 2 * HOUR, audit_before=NOW, limit=10) == 1
    assert reader.ledger.select(CertificateFilter()) == [ahead]


def test_a_listing_of_what_is_alive_reads_only_the_serials_that_can_be(store: Store, serials: SerialSource) -> None:
    add(store, a_row(serials, NOW))
    reader = store.reader()
    statements: list[str] = []
    reader._handle.raw.set_trace_callback(statements.append)
    reader.ledger.select(CertificateFilter(alive_at=NOW + 10 * DAY, spiffe_id=WEB))
    (listing,) = [statement for statement in statements if "FROM issued" in statement]
    (plan, *names) = [row[3] for row in reader._handle.rows(f"EXPLAIN QUERY PLAN {listing}")]
    assert plan == "SEARCH i USING PRIMARY KEY (serial>?)"
    assert not any("SCAN" in name for name in names)


def test_everything_alive_comes_page_by_page(
    store: Store, serials: SerialSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inborn_ca.store.sqlite.ledger.ALIVE_PAGE", 3)
    rows = [a_row(serials, NOW + n * HOUR / 4) for n in range(12)]
    add(store, *rows)
    assert list(store.reader().ledger.iter_alive(at=NOW + 2 * HOUR)) == rows[4:]
    assert list(store.reader().ledger.iter_alive(at=NOW)) == rows
    assert list(store.reader().ledger.iter_alive(at=NOW + 2 * DAY)) == []


def prune_all(store: Store, *, issued: dt.datetime, audit: dt.datetime, limit: int = 3) -> list[int]:
    rounds = []
    while True:
        with store.transaction() as tx:
            rounds.append(tx.prune(issued_expired_before=issued, audit_before=audit, limit=limit))
        if not rounds[-1]:
            return rounds[:-1]


def test_rows_are_pruned_in_chunks_a_retention_after_expiry(store: Store, serials: SerialSource) -> None:
    long = a_row(serials, NOW, life=7 * DAY)
    short = [a_row(serials, NOW + n * HOUR) for n in range(10)]
    add(store, long, *short)
    rounds = prune_all(store, issued=NOW + 5.5 * HOUR, audit=NOW)
    assert rounds == [3, 2]
    assert store.reader().ledger.select(CertificateFilter()) == [long, *short[5:]]


def test_audit_rows_are_pruned_by_age_and_alarms_once_acknowledged(store: Store) -> None:
    with store.transaction() as tx:
        # A clock that was wrong for a moment does not keep the others.
        tx.audit.add(AuditRow(at=NOW + 900 * DAY, actor="a", action="future", subject="s"))
        for n in range(5):
            tx.audit.add(AuditRow(at=NOW + n * DAY, actor="a", action=f"n{n}", subject="s"))
        old = tx.audit.raise_alarm(kind="k", subject="old", message="m", at=NOW)
        tx.audit.acknowledge_alarm(old, "root", NOW + DAY)
        tx.audit.raise_alarm(kind="k", subject="open", message="m", at=NOW)
    prune_all(store, issued=NOW, audit=NOW + 2 * DAY)
    reader = store.reader()
    assert [row.action for row in reader.audit.rows(after_id=0, limit=100)] == ["future", "n2", "n3", "n4"]
    assert [alarm.subject for alarm in reader.audit.alarms(acknowledged=True)] == ["open"]


def test_a_selector_set_is_pruned_when_nothing_can_name_it(store: Store, serials: SerialSource) -> None:
    old = a_row(serials, NOW, selectors=(parse_selector("unix:uid:1"),))
    shared = a_row(serials, NOW)
    add(store, old, shared)
    later = a_row(serials, NOW + 10 * DAY)
    add(store, later)
    prune_all(store, issued=NOW + 5 * DAY, audit=NOW)

    def sets() -> int:
        ((count,),) = store.writer.rows("SELECT count(*) FROM selector_set")
        return int(count)

    assert sets() == 1
    assert store.reader().ledger.select(CertificateFilter()) == [later]
    # The cache has forgotten the set as well.
    again = a_row(serials, NOW + 10 * DAY, selectors=old.selectors)
    add(store, again)
    assert store.reader().ledger.get(again.serial) == again
    prune_all(store, issued=NOW + 20 * DAY, audit=NOW)
    assert sets() == 0


def test_an_requester_is_kept_until_every_certificate_of_its_key_can_have_expired(
    store: Store, serials: SerialSource
) -> None:
    def put(tx, key_hash: bytes) -> None:
        tx.members.put_requester(RequesterKey(key_hash=key_hash, spki=b"s", spiffe_id=NODE))

    agent = a_row(serials, NOW, life=7 * DAY, kind=CertificateKind.AGENT, key_hash=b"k" * 32)
    with store.transaction() as tx:
        put(tx, b"k" * 32)
        tx.ledger.add(agent)
    # A further certificate for the same key, in a transaction that does not touch the requester.
    add(store, a_row(serials, NOW + 5 * DAY, life=7 * DAY, kind=CertificateKind.AGENT, key_hash=b"k" * 32))
    prune_all(store, issued=NOW + 11 * DAY, audit=NOW)
    assert store.reader().members.requester(b"k" * 32) is not None
    prune_all(store, issued=NOW + 13 * DAY, audit=NOW)
    assert store.reader().members.requester(b"k" * 32) is None


def test_a_token_is_kept_while_somebody_was_enrolled_by_it(store: Store) -> None:
    def token(name: bytes) -> Token:
        return Token(
            id=name * 16,
            public_key=name * 32,
            kind=MemberKind.AGENT,
            uses=1,
            created_at=NOW,
            expires_at=NOW + HOUR,
            created_by="root",
        )

    with store.transaction() as tx:
        for name in (b"a", b"b"):
            tx.tokens.add(token(name))
            tx.tokens.add_use(name * 16, b"k" * 32, NODE, NOW)
        tx.members.put(
            Member(
                spiffe_id=NODE,
                kind=MemberKind.AGENT,
                enrolled_at=NOW,
                attested_by="join_token",
                attested_subject="61" * 16,
            )
        )
    prune_all(store, issued=NOW + HOUR, audit=NOW)
    assert len(store.reader().tokens.all()) == 2
    prune_all(store, issued=NOW + 2 * HOUR, audit=NOW)
    assert [t.id for t in store.reader().tokens.all()] == [b"a" * 16]
    assert store.reader().tokens.count_uses(b"b" * 16) == 0


def test_the_size_on_disk_grows_with_what_is_written(store: Store, serials: SerialSource) -> None:
    before = store.size()
    add(store, *(a_row(serials, NOW) for _ in range(1000)))
    assert store.size() > before + 50_000


def test_an_svid_that_is_bound_to_no_key_lies_beside_certificates(store: Store, serials: SerialSource) -> None:
    certificate = a_row(serials, NOW)
    token = a_row(serials, NOW, svid_kind=SvidKind.JWT, key_hash=b"", node=NODE)
    add(store, certificate, token)
    ledger = store.reader().ledger
    assert ledger.select(CertificateFilter(spiffe_id=WEB)) == [certificate, token]
    assert ledger.get(token.serial) == token
    assert ledger.count_alive(BlockKind.ID, str(WEB), at=NOW).certificates == 2
    assert ledger.count_alive(BlockKind.NODE, str(NODE), at=NOW).certificates == 1
    assert ledger.count_alive(BlockKind.KEY, certificate.key_hash.hex(), at=NOW).certificates == 1
    alive = ledger.alive_serials(
        BlockKind.ID, str(WEB), {b"\1" * 20: token.serial}, at=NOW, after=certificate.serial, limit=10
    )
    assert alive == [(token.serial, b"\1" * 20)]


def test_a_certificate_without_a_key_is_no_row(serials: SerialSource) -> None:
    with pytest.raises(InternalError, match="has no key"):
        a_row(serials, NOW, key_hash=b"")


def test_the_last_end_of_each_holder_is_told_and_of_nobody_else(store: Store, serials: SerialSource) -> None:
    daemon = parse_spiffe_id("spiffe://example.org/daemon")
    add(
        store,
        a_row(serials, NOW - DAY, spiffe_id=NODE, kind=CertificateKind.AGENT),
        a_row(serials, NOW, 3 * HOUR, spiffe_id=NODE, kind=CertificateKind.AGENT),
        a_row(serials, NOW, spiffe_id=NODE, kind=CertificateKind.AGENT),
        a_row(serials, NOW, spiffe_id=daemon, kind=CertificateKind.DAEMON),
        a_row(serials, NOW, DAY, node=NODE),
    )
    ends = store.reader().ledger.ends_of_holders
    assert ends(at=NOW) == {NODE: NOW + 3 * HOUR, daemon: NOW + HOUR}
    assert ends(at=NOW + 2 * HOUR) == {NODE: NOW + 3 * HOUR}
