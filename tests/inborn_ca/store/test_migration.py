"""A database of a former program is carried over, and nothing in it is lost."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from pathlib import Path

import pytest
import sqlite_utils
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn_ca.authorities.authority_life import key_id, make_issuing, make_root
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.model.records import CertificateKind, Issued, SvidKind
from inborn_ca.store.interface import CertificateFilter
from inborn_ca.store.sqlite.codec import to_micros
from inborn_ca.store.sqlite.migrations import MIGRATIONS
from inborn_ca.store.sqlite.schema import APPLICATION_ID, VERSION
from inborn_ca.store.sqlite.sqlite_store import SqliteStore, open_sqlite

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
TD = TrustDomain("example.org")
ROOT_KEY, ISSUER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ROOT = make_root(trust_domain=TD, key=ROOT_KEY, now=NOW, life=dt.timedelta(days=3650))
ISSUER = make_issuing(
    trust_domain=TD, root=ROOT, root_key=ROOT_KEY, key=ISSUER_KEY, now=NOW, life=dt.timedelta(days=60)
)
SERIALS = SerialSource()
SERIAL = SERIALS.next(NOW, b"r" * 11)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """As the program before several CAs left it: schema version 3, with one CA and what it knew."""
    path = tmp_path / "inborn.db"
    with sqlite3.connect(path) as connection:
        for step in MIGRATIONS[:3]:
            step(sqlite_utils.Database(connection))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 3")
        meta = {
            "log_id": "ab" * 16,
            "created_at": str(to_micros(NOW)),
            "trust_domain": "example.org",
            "ca_id": "0badcafe",
            "serial": SERIALS.state,
            "domain_revision": "7",
            "entry_revision": "9",
            "local_agent_name": "build1",
            "revoking_authority": json.dumps({"authority": "00"}),
        }
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        for certificate, state in ((ROOT, "root"), (ISSUER, "active")):
            connection.execute(
                "INSERT INTO authority (key_id, state, certificate, created_at, activated_at, crl, crl_number) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    key_id(certificate),
                    state,
                    certificate.public_bytes(Encoding.DER),
                    to_micros(NOW),
                    to_micros(NOW),
                    b"c",
                    3,
                ),
            )
        connection.execute("INSERT INTO identity VALUES (1, 'spiffe://example.org/web')")
        connection.execute("INSERT INTO authority_name VALUES (1, ?)", (key_id(ISSUER),))
        connection.execute("INSERT INTO selector_set VALUES (1, '[\"unix:uid:1\"]', 1)")
        connection.execute(
            "INSERT INTO issued VALUES (?, 1, 1, ?, 1, ?, ?, NULL, NULL, 1)",
            (SERIAL, b"k" * 32, to_micros(NOW), to_micros(NOW + HOUR)),
        )
        connection.execute("UPDATE ledger SET longest_life = ?", (3_600_000_000,))
        connection.execute(
            "INSERT INTO member (spiffe_id, kind, enrolled_at, token_id, name, groups) "
            "VALUES ('spiffe://example.org/inborn/agent/1', 'agent', 0, X'00', 'build1', '[]')"
        )
        connection.execute(
            "INSERT INTO revocation VALUES (1, 1, X'01', '{}', 0, 0, 'uid:0', '', 0, ?, NULL)",
            (to_micros(NOW + HOUR),),
        )
    connection.close()
    return path


def carried_over(path: Path) -> SqliteStore:
    store = open_sqlite(path, now=NOW + HOUR)
    assert store.writer.rows("PRAGMA user_version") == [(VERSION,)]
    assert store.writer.rows("PRAGMA foreign_key_check") == []
    return store


def test_what_counted_for_the_one_ca_has_its_name_beside_it(former: Path) -> None:
    store = carried_over(former)
    reader = store.reader()
    assert reader.authorities.serial_states() == {"0badcafe": SERIALS.state}
    assert [(a.state, a.ca_id) for a in reader.authorities.all()] == [
        (AuthorityState.ROOT, ""),
        (AuthorityState.ACTIVE, "0badcafe"),
    ]
    assert reader.meta.get("serial") is None
    assert reader.meta.get("local_agent_name:0badcafe") == "build1"
    assert reader.meta.get("revoking_authority:0badcafe") == json.dumps({"authority": "00"})
    store.close()


def test_what_the_database_counts_goes_on_where_it_was(former: Path) -> None:
    store = carried_over(former)
    meta = store.reader().meta
    kept = {key: meta.get(key) for key in ("log_id", "trust_domain", "ca_id", "domain_revision", "entry_revision")}
    assert kept == {
        "log_id": "ab" * 16,
        "trust_domain": "example.org",
        "ca_id": "0badcafe",
        "domain_revision": "7",
        "entry_revision": "9",
    }
    assert store.reader().revocations.seq() == 1
    store.close()


def test_rows_keep_what_they_said_and_are_of_the_kind_that_there_was(former: Path) -> None:
    store = carried_over(former)
    reader = store.reader()
    (row,) = reader.ledger.select(CertificateFilter(alive_at=NOW))
    assert row == Issued(
        serial=SERIAL,
        spiffe_id=parse_spiffe_id("spiffe://example.org/web"),
        kind=CertificateKind.WORKLOAD,
        key_hash=b"k" * 32,
        authority=key_id(ISSUER),
        issued_at=NOW,
        not_after=NOW + HOUR,
        selectors=row.selectors,
        svid_kind=SvidKind.X509,
    )
    assert [str(selector) for selector in row.selectors] == ["unix:uid:1"]
    assert [a.certificate for a in reader.authorities.all()] == [ROOT, ISSUER]
    member = reader.members.find_agent("build1")
    assert member is not None
    assert str(member.spiffe_id) == "spiffe://example.org/inborn/agent/1"
    store.close()


def test_a_database_that_was_never_begun_has_no_ca(tmp_path: Path) -> None:
    path = tmp_path / "inborn.db"
    with sqlite3.connect(path) as connection:
        for step in MIGRATIONS[:3]:
            step(sqlite_utils.Database(connection))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    store = carried_over(path)
    assert store.reader().authorities.serial_states() == {}
    store.close()
