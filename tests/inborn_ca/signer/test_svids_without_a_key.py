"""An SVID that is bound to no key, as a token is: blocked and revoked by what it has, and in no CRL."""

from __future__ import annotations

import datetime as dt
import os

import pytest

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn_ca.model.records import CertificateKind, Issued, SvidKind
from inborn_ca.signer.maintenance import dead_certificates
from inborn_proto import admin_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench

WEB = "spiffe://example.org/web"


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


def a_token(ca: CaBench, spiffe_id: str = WEB) -> Issued:
    """A row as whoever makes such SVIDs will write it."""
    now = ca.clock()
    row = Issued(
        serial=ca.state.serials.next(now, os.urandom(11)),
        spiffe_id=parse_spiffe_id(spiffe_id),
        kind=CertificateKind.AGENT if "/agent/" in spiffe_id else CertificateKind.WORKLOAD,
        authority=ca.state.active.key_id,
        issued_at=now,
        not_after=now + dt.timedelta(minutes=5),
        svid_kind=SvidKind.JWT,
    )
    with ca.state.store.transaction() as tx:
        tx.ledger.add(row)
    return row


def is_revoked(ca: CaBench, row: Issued) -> bool:
    return ca.state.revocations.find(ca.state.facts(row)) is not None


def test_it_is_revoked_by_its_id(ca: CaBench) -> None:
    row = a_token(ca)
    response = ca.revoke(spiffe_id=WEB)
    assert response.certificates == 1
    assert is_revoked(ca, row)
    assert not is_revoked(ca, a_token(ca))


def test_it_is_revoked_by_its_serial_also_where_its_key_would_be_meant(ca: CaBench) -> None:
    row, other = a_token(ca), a_token(ca)
    ca.revoke(serial=row.serial.hex(), reason="keyCompromise")
    assert is_revoked(ca, row)
    assert not is_revoked(ca, other)
    assert ca.reader.blocks.all() == []


def test_it_dies_with_the_agent_that_holds_it(ca: CaBench) -> None:
    agent = ca.enroll()
    row = a_token(ca, agent.spiffe_id)
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent=agent.spiffe_id), ADMIN))
    assert is_revoked(ca, row)
    assert {r.kind for r in ca.reader.revocations.log()} == {RevocationKind.KEY, RevocationKind.SERIAL}


def test_no_crl_lists_it(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    certificate = ca.issue(agent, entry.id)
    row = a_token(ca)
    ca.revoke(spiffe_id=WEB)
    assert is_revoked(ca, row)
    (dead,) = dead_certificates(ca.state).values()
    assert [int.from_bytes(serial, "big") for serial, _, _ in dead] == [certificate.serial_number]
