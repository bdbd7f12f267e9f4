"""Whatever a record holds, the store gives it back as it was."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn_ca.authorities.authority_life import key_id, make_root
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.model.records import (
    AuditRow,
    AuthorityRecord,
    Block,
    BlockKind,
    CertificateKind,
    Issued,
    Member,
    MemberKind,
    RequesterKey,
    RevocationRecord,
    SvidKind,
    Token,
)
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch
from inborn_ca.store.interface import CertificateFilter, Store
from inborn_ca.store.opening import open_store

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TD = TrustDomain("example.org")


def a_root() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    return make_root(trust_domain=TD, key=key, now=NOW, life=dt.timedelta(days=1))


ROOT, OTHER_ROOT = a_root(), a_root()

times = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2500, 1, 1), timezones=st.just(dt.UTC))
maybe_time = st.none() | times
# Text as it may come from outside: no surrogates, which are no text in any encoding.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
octets = st.binary(max_size=40)
hashes = st.binary(min_size=32, max_size=32)
segments = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
ids = st.lists(segments, min_size=1, max_size=4).map(lambda parts: TD.id.child(*parts))
values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
selectors = st.builds(Selector, type=st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True), value=values)
counts = st.integers(0, 2**63 - 1)
names = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
nodes = st.one_of(
    st.just(NodeMatch(kind=NodeKind.ANY)),
    st.builds(NodeMatch, kind=st.sampled_from([NodeKind.NAME, NodeKind.GROUP]), value=names),
    st.builds(NodeMatch, kind=st.just(NodeKind.AGENT), value=ids.map(str)),
)
entries = st.builds(
    Entry,
    id=names,
    spiffe_id=ids,
    selectors=st.frozensets(selectors, max_size=5),
    node=nodes,
    ttl=st.timedeltas(dt.timedelta(seconds=1), dt.timedelta(days=1)),
    dns_names=st.lists(texts, max_size=3).map(tuple),
    common_name=texts,
    hint=texts,
    revision=counts,
    created_at=times,
    updated_at=times,
)
tokens = st.builds(
    Token,
    id=octets,
    public_key=octets,
    kind=st.sampled_from(MemberKind),
    uses=st.integers(1, 1000),
    created_at=times,
    expires_at=times,
    created_by=texts,
    spiffe_id=st.none() | ids,
    name=texts,
    groups=st.lists(texts, max_size=3).map(tuple),
    withdrawn_at=maybe_time,
)
members = st.builds(
    Member,
    spiffe_id=ids,
    kind=st.sampled_from(MemberKind),
    enrolled_at=times,
    attested_by=texts,
    attested_subject=texts,
    name=texts,
    groups=st.lists(texts, max_size=3).map(tuple),
    selectors=st.lists(selectors, max_size=3).map(tuple),
    banned_at=maybe_time,
    stopped_at=maybe_time,
)
requesters = st.builds(
    RequesterKey, key_hash=hashes, spki=octets, spiffe_id=ids, last_number=counts, successor=st.none() | hashes
)
revocations = st.builds(
    RevocationRecord,
    seq=st.just(1),
    kind=st.sampled_from(RevocationKind),
    value=octets,
    cut_offs=st.dictionaries(octets, st.none() | octets, max_size=3),
    reason=st.integers(0, 10),
    blocks=st.booleans(),
    actor=texts,
    note=texts,
    revoked_at=times,
    alive_until=times,
    dropped_at=maybe_time,
)
blocks = st.builds(Block, kind=st.sampled_from(BlockKind), value=texts, since=times, actor=texts, revocation_seq=counts)
details = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts, max_size=3)
audits = st.builds(
    AuditRow, at=times, actor=texts, action=texts, subject=texts, detail=details, origin=texts, count=st.integers(1, 99)
)
authorities = st.builds(
    AuthorityRecord,
    key_id=octets,
    state=st.sampled_from(AuthorityState),
    certificate=st.sampled_from([ROOT, OTHER_ROOT]),
    created_at=times,
    activated_at=maybe_time,
    crl=octets,
    crl_number=counts,
    crl_this_update=maybe_time,
    crl_next_update=maybe_time,
    ca_id=st.sampled_from(["", "ca1"]),
)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Issued]:
    serials = SerialSource()
    rows = []
    for _ in range(draw(st.integers(1, 8))):
        at = draw(times)
        svid_kind = draw(st.sampled_from(SvidKind))
        rows.append(
            Issued(
                serial=serials.next(at, draw(st.binary(min_size=11, max_size=11))),
                spiffe_id=draw(ids),
                kind=draw(st.sampled_from(CertificateKind)),
                svid_kind=svid_kind,
                key_hash=draw(hashes) if svid_kind is SvidKind.X509 else draw(st.just(b"") | hashes),
                authority=draw(st.sampled_from([key_id(ROOT), key_id(OTHER_ROOT)])),
                issued_at=at,
                not_after=at + draw(st.timedeltas(dt.timedelta(), dt.timedelta(days=7))),
                entry_id=draw(st.just("") | names),
                node=draw(st.none() | ids),
                selectors=tuple(draw(st.lists(selectors, max_size=4))),
            )
        )
    return rows


@contextmanager
def a_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(Path(directory), now=NOW)
        try:
            yield store
        finally:
            store.close()


few = settings(max_examples=40, deadline=None)  # each example is a database with its syncs


@few
@given(entries, tokens, members, requesters, authorities)
def test_what_is_kept_comes_back_as_it_was(
    entry: Entry, token: Token, member: Member, requester: RequesterKey, authority: AuthorityRecord
) -> None:
    with a_store() as store:
        with store.transaction() as tx:
            tx.entries.add(entry)
            tx.tokens.add(token)
            tx.members.put(member)
            tx.members.put_requester(requester)
            tx.authorities.add_ca("ca1", NOW)
            tx.authorities.add(authority)
        reader = store.reader()
        assert (reader.entries.get(entry.id), reader.entries.all()) == (entry, [entry])
        assert (reader.tokens.get(token.id), reader.tokens.all()) == (token, [token])
        assert (reader.members.get(member.spiffe_id), reader.members.all()) == (member, [member])
        assert reader.members.requester(requester.key_hash) == requester
        assert reader.authorities.all() == [authority]


@few
@given(revocations, blocks, audits)
def test_what_was_decided_comes_back_as_it_was(revocation: RevocationRecord, block: Block, audit: AuditRow) -> None:
    with a_store() as store:
        with store.transaction() as tx:
            tx.revocations.add(revocation)
            tx.blocks.add(block)
            number = tx.audit.add(audit)
        reader = store.reader()
        assert reader.revocations.log(dropped=True) == [revocation]
        assert reader.blocks.all() == [block]
        (row,) = reader.audit.rows(after_id=0, limit=10)
        assert (row.id, row.at, row.actor, row.action, row.subject, row.origin, row.count) == (
            number, audit.at, audit.actor, audit.action, audit.subject, audit.origin, audit.count
        )  # fmt: skip
        assert dict(row.detail) == dict(audit.detail)


@few
@given(ledgers(), times, st.none() | times, st.none() | times)
def test_the_ledger_lists_what_a_plain_search_finds(
    rows: list[Issued], alive_at: dt.datetime, after: dt.datetime | None, before: dt.datetime | None
) -> None:
    with a_store() as store:
        with store.transaction() as tx:
            for row in rows:
                tx.ledger.add(row)
        reader = store.reader()
        assert reader.ledger.select(CertificateFilter()) == rows
        assert [reader.ledger.get(row.serial) for row in rows] == rows
        assert reader.ledger.select(CertificateFilter(alive_at=alive_at)) == [
            r for r in rows if r.not_after >= alive_at
        ]
        for row in rows:
            assert row in reader.ledger.select(CertificateFilter(alive_at=row.issued_at))
            assert reader.ledger.select(CertificateFilter(spiffe_id=row.spiffe_id)) == [
                r for r in rows if r.spiffe_id == row.spiffe_id
            ]
        assert reader.ledger.select(CertificateFilter(issued_after=after, issued_before=before)) == [
            r for r in rows if (after is None or r.issued_at >= after) and (before is None or r.issued_at < before)
        ]


@few
@given(ledgers(), times)
def test_pruning_deletes_what_has_expired_and_nothing_else(rows: list[Issued], before: dt.datetime) -> None:
    with a_store() as store:
        with store.transaction() as tx:
            for row in rows:
                tx.ledger.add(row)
        for _ in range(20):
            with store.transaction() as tx:
                deleted = tx.prune(issued_expired_before=before, audit_before=before, limit=3)
            assert deleted <= 3
            if not deleted:
                break
        assert store.reader().ledger.select(CertificateFilter()) == [r for r in rows if r.not_after >= before]


@few
@given(st.text(max_size=20))
def test_a_value_that_is_no_text_is_refused_and_nothing_is_written(text: str) -> None:
    with a_store() as store:
        try:
            with store.transaction() as tx:
                tx.meta.set("key", text + "\ud800")
        except Exception as e:
            error = e
        assert type(error).__name__ == "InternalError"
        assert store.reader().meta.get("key") is None
