"""What an agent gets for its workloads, and what it does not."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import read_certificate
from inborn.errors import DeniedError, InbornError, RequestError
from inborn_ca.certificates.issuance import BadCsr
from inborn_ca.model.registration_entry import EntryDenied
from inborn_ca.signer.commands.issuing import MAX_ITEMS
from inborn_ca.signer.state import Blocked
from inborn_ca.store.interface import CertificateFilter
from inborn_proto import admin_pb2, ca_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, make_csr


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


UID = ["unix:uid:1000", "unix:gid:1000"]


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_svid_is_what_the_entry_says(ca: CaBench) -> None:
    agent = ca.enroll()
    entry = ca.create_entry("/web", dns_names=["web.example.org"], ttl_seconds=600)
    svid = ca.issue(agent, entry.id, UID)
    names = svid.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert str(read_certificate(svid).spiffe_id) == "spiffe://example.org/web"
    alias = parse_spiffe_id("spiffe://example.org/web").alias
    assert set(names.get_values_for_type(x509.DNSName)) == {"web.example.org", alias}
    assert svid.not_valid_after_utc - ca.clock() <= dt.timedelta(seconds=600)
    assert svid.not_valid_before_utc == ca.clock() - dt.timedelta(seconds=30)


def test_row_is_there_with_what_the_agent_saw(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    facts = read_certificate(ca.issue(agent, entry.id, UID))
    row = ca.reader.ledger.get(facts.serial)
    assert row is not None
    assert (row.spiffe_id, row.entry_id, row.key_hash) == (facts.spiffe_id, entry.id, facts.key_hash)
    assert str(row.node) == agent.spiffe_id
    assert [str(s) for s in row.selectors] == sorted(UID)


def test_serials_rise_strictly(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    serials = [read_certificate(ca.issue(agent, entry.id)).serial for _ in range(5)]
    ca.clock.advance(minutes=-3)
    serials += [read_certificate(ca.issue(agent, entry.id)).serial for _ in range(5)]
    assert serials == sorted(serials)
    assert len(set(serials)) == 10


@pytest.mark.parametrize("node", ["name:other", "group:g", "spiffe"])
def test_entry_of_another_node_is_denied(ca: CaBench, node: str) -> None:
    agent, other = ca.enroll(name="mine"), ca.enroll(name="other", groups=["g"])
    entry = ca.create_entry(node=other.spiffe_id if node == "spiffe" else node)
    with pytest.raises(EntryDenied):
        ca.issue(agent, entry.id)
    ca.issue(other, entry.id)


def test_missing_selector_is_denied_by_its_name(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry(selectors=["unix:uid:1000", "unix:path:/bin/web"])
    with pytest.raises(EntryDenied, match="unix:path:/bin/web"):
        ca.issue(agent, entry.id, UID)


def test_deleted_entry_is_denied(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    ca.run(ca.entries.delete(admin_pb2.EntryRequest(id=entry.id), ADMIN))
    with pytest.raises(EntryDenied):
        ca.issue(agent, entry.id)


def test_one_items_error_is_that_items_error(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    response = ca.run(
        ca.issue_command(agent, (entry.id, new_key(), UID), ("nothing", new_key(), UID), (entry.id, new_key(), UID))
    )
    assert [r.WhichOneof("outcome") for r in response.results] == ["leaf", "error", "leaf"]
    assert len(ca.reader.ledger.select(CertificateFilter(entry_id=entry.id))) == 2


def test_extra_names_and_ca_true_in_a_csr_are_ignored(ca: CaBench) -> None:
    agent, entry, key = ca.enroll(), ca.create_entry(), new_key()
    csr = make_csr(
        key,
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier("spiffe://example.org/admin"), x509.DNSName("*.example.org")]
        ),
    )
    request = ca_pb2.IssueRequest(items=[ca_pb2.IssueItem(entry_id=entry.id, csr=csr, selectors=UID)])
    from inborn_ca.signer.commands.issuing import ISSUE_METHOD
    from inborn_proto import signer_pb2

    signed = agent.sign(ISSUE_METHOD, request.SerializeToString())
    response = ca.run(ca.issuing.issue(signer_pb2.ForwardedRequest(request=signed)))
    svid = x509.load_der_x509_certificate(response.results[0].leaf)
    names = svid.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/web"]
    assert "*.example.org" not in names.get_values_for_type(x509.DNSName)
    assert not svid.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_rsa_key_is_refused(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    with pytest.raises(BadCsr):
        ca.issue(agent, entry.id, key=rsa.generate_private_key(65537, 2048))


def test_too_many_items_are_refused(ca: CaBench) -> None:
    agent, entry, key = ca.enroll(), ca.create_entry(), new_key()
    csr = make_csr(key)
    from inborn_ca.signer.commands.issuing import ISSUE_METHOD
    from inborn_proto import signer_pb2

    items = [ca_pb2.IssueItem(entry_id=entry.id, csr=csr, selectors=UID)] * (MAX_ITEMS + 1)
    signed = agent.sign(ISSUE_METHOD, ca_pb2.IssueRequest(items=items).SerializeToString())
    with pytest.raises(RequestError, match="501 items"):
        ca.run(ca.issuing.issue(signer_pb2.ForwardedRequest(request=signed)))


@pytest.mark.parametrize("selector", ["", "no-colon", "unix:uid:1\n000", "unix:", "x" * 2000])
def test_bad_selectors_of_an_agent_are_refused(ca: CaBench, selector: str) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    with pytest.raises(RequestError):
        ca.issue(agent, entry.id, ["unix:uid:1000", selector])


# -- revocation and blocks --


def test_revoked_identity_is_dead_and_gets_nothing_until_unblocked(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    response = ca.revoke(spiffe_id="spiffe://example.org/web")
    assert (response.certificates, response.blocked) == (1, True)
    assert ca.is_revoked(svid)
    with pytest.raises(Blocked):
        ca.issue(agent, entry.id)
    ca.unblock("id:spiffe://example.org/web")
    fresh = ca.issue(agent, entry.id)
    assert not ca.is_revoked(fresh)
    assert ca.is_revoked(svid)


def test_reissue_kills_what_exists_and_blocks_nothing(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    assert not ca.revoke(spiffe_id="spiffe://example.org/web", reissue=True).blocked
    assert ca.is_revoked(svid)
    assert not ca.is_revoked(ca.issue(agent, entry.id))


def test_reissue_prints_a_token_for_what_was_enrolled_by_token(ca: CaBench) -> None:
    from inborn._internal.enrollment.join_token import parse_join_token

    daemon = ca.enroll(spiffe_id="spiffe://example.org/db")
    response = ca.revoke(spiffe_id="spiffe://example.org/db", reissue=True)
    assert ca.is_revoked(daemon.leaf)
    fresh = ca.enroll(parse_join_token(response.token))
    assert fresh.spiffe_id == daemon.spiffe_id
    assert not ca.is_revoked(fresh.leaf)


def test_one_serial_is_revoked_and_its_neighbours_live(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    one, two = ca.issue(agent, entry.id), ca.issue(agent, entry.id)
    ca.revoke(serial=read_certificate(one).serial.hex())
    assert ca.is_revoked(one)
    assert not ca.is_revoked(two)
    ca.issue(agent, entry.id)


def test_key_compromise_revokes_and_blocks_the_key(ca: CaBench) -> None:
    agent, entry, key = ca.enroll(), ca.create_entry(), new_key()
    one, two = ca.issue(agent, entry.id, key=key), ca.issue(agent, entry.id, key=key)
    ca.revoke(serial=read_certificate(one).serial.hex(), reason="keyCompromise")
    assert ca.is_revoked(one)
    assert ca.is_revoked(two)
    with pytest.raises(Blocked):
        ca.issue(agent, entry.id, key=key)
    ca.issue(agent, entry.id)


def test_clock_set_back_does_not_bring_a_new_certificate_under_an_old_rule(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    old = ca.issue(agent, entry.id)
    ca.revoke(spiffe_id="spiffe://example.org/web", reissue=True)
    ca.clock.advance(minutes=-3)
    fresh = ca.issue(agent, entry.id)
    assert ca.is_revoked(old)
    assert not ca.is_revoked(fresh)


def test_revoke_racing_issue_leaves_nothing_alive_that_should_be_dead(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    for round_number in range(30):
        before = [ca.issue_command(agent, (entry.id, new_key(), UID)) for _ in range(round_number % 3)]
        revoke = ca.revocations.revoke(admin_pb2.RevokeRequest(spiffe_id="spiffe://example.org/web"), ADMIN)
        after = [ca.issue_command(agent, (entry.id, new_key(), UID)) for _ in range(2)]
        results = ca.group(*before, revoke, *after)
        for response in results[: len(before)]:
            assert ca.is_revoked(x509.load_der_x509_certificate(response.results[0].leaf))
        for response in results[len(before) + 1 :]:
            assert response.results[0].error.kind == "Blocked"
        ca.unblock("spiffe://example.org/web")


def test_agent_revoked_in_the_same_group_gets_nothing_after_it(ca: CaBench) -> None:
    agent, entry = ca.enroll(name="edge"), ca.create_entry()
    ban = ca.revocations.ban(admin_pb2.BanAgentRequest(agent="edge"), ADMIN)
    results = ca.group(ban, ca.issue_command(agent, (entry.id, new_key(), UID)), raising=False)
    assert isinstance(results[1], DeniedError)


@pytest.mark.parametrize(
    "request_fields",
    [
        {},
        {"serial": "zz"},
        {"serial": "01", "spiffe_id": "spiffe://example.org/web"},
        {"spiffe_id": "spiffe://other.org/web"},
        {"spiffe_id": "spiffe://example.org/inborn/agent/x"},
        {"spiffe_id": "spiffe://example.org/web", "reason": "because"},
        {"serial": "0102"},
        {"spiffe_id": "spiffe://example.org/web", "note": "x" * 2000},
    ],
)
def test_bad_revocations_change_nothing(ca: CaBench, request_fields: dict) -> None:
    with pytest.raises(RequestError):
        ca.revoke(**request_fields)
    assert ca.reader.revocations.seq() == 0
    assert ca.reader.blocks.all() == []


def test_rules_and_blocks_are_there_after_a_restart(ca: CaBench) -> None:
    from inborn_ca.signer.main import open_state
    from tests.rigs.fixtures_ca import CaBench as Bench

    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.revoke(spiffe_id="spiffe://example.org/web")
    ca.state.store.close()
    state = open_state(ca.directory, trust_domain="", lifetimes=ca.state.lifetimes, clock=ca.clock)
    again = Bench(state=state, clock=ca.clock, directory=ca.directory)
    assert again.is_revoked(svid)
    with pytest.raises(Blocked):
        again.issue(agent, entry.id)
    ca.state.store = state.store


@pytest.mark.parametrize(
    "fields",
    [
        {"selectors": []},
        {"spiffe_id": "spiffe://other.org/x"},
        {"spiffe_id": "spiffe://example.org/inborn/ca/x/front"},
        {"spiffe_id": "spiffe://example.org"},
        {"spiffe_id": "not an id"},
        {"dns_names": ["*.example.org"]},
        {"dns_names": ["x.spiffe.alt"]},
        {"ttl_seconds": -5},
        {"ttl_seconds": 10**9},
        {"ttl_seconds": 2**40},
        {"node": "no such agent"},
        {"node": ""},
        {"hint": "x" * 1025},
        {"selectors": ["unix:uid:1\n2"]},
    ],
)
def test_bad_entries_are_refused(ca: CaBench, fields: dict) -> None:
    with pytest.raises(RequestError):
        ca.create_entry(**fields)
    assert ca.reader.entries.all() == []


def test_no_update_makes_an_entry_grant_administration(ca: CaBench) -> None:
    entry = ca.create_entry()
    with pytest.raises(RequestError, match="out of cn, dns, hint, node, revoke, selectors, ttl"):
        ca.run(ca.entries.update(admin_pb2.UpdateEntryRequest(id=entry.id, set=["admin"]), ADMIN))
    assert [kept.revision for kept in ca.reader.entries.all()] == [1]


def test_the_same_entry_twice_is_refused(ca: CaBench) -> None:
    ca.create_entry()
    with pytest.raises(InbornError, match="says the same"):
        ca.create_entry()


def test_a_star_in_a_selector_is_literal(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry(selectors=["unix:uid:*"])
    with pytest.raises(EntryDenied):
        ca.issue(agent, entry.id, UID)
