"""Agents that come with a certificate of a CA that the admin has named: IDs, selectors, and what an admin does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from inborn.errors import DeniedError, NotFoundError, RequestError
from inborn_proto import admin_pb2, feed_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, FakeClock
from tests.rigs.machine_ca import LEAF_EXTENSIONS, MachineCertificate, ca_extensions, usage


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


@pytest.fixture
def root(ca: CaBench) -> MachineCertificate:
    root = MachineCertificate.root(ca.clock())
    ca.take_certificates(root.pem)
    return root


def member(ca: CaBench, spiffe_id: str) -> Any:
    (found,) = [m for m in ca.reader.members.all() if str(m.spiffe_id) == spiffe_id]
    return found


def test_agent_is_called_by_its_certificates_fingerprint(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.issuing(ca.clock()).leaf(ca.clock())
    agent = ca.enroll_by(machine)
    assert agent.spiffe_id == f"spiffe://example.org/inborn/agent/x509pop/{machine.fingerprint}"
    row = ca.reader.ledger.get(agent.facts.serial)
    assert row is not None
    assert (row.kind, row.node, str(row.spiffe_id)) == ("agent", row.spiffe_id, agent.spiffe_id)


def test_agent_has_the_selectors_that_spire_would_give_it(ca: CaBench, root: MachineCertificate) -> None:
    issuing = root.issuing(ca.clock())
    uris = ["x509pop://example.org/rack:b:7", "x509pop://other.org/rack:x", "https://example.org/", "x509pop:rack"]
    machine = issuing.leaf(ca.clock(), "web1.example.org", uris=uris, serial=0x0A1B2C3D4E5F)
    agent = member(ca, ca.enroll_by(machine).spiffe_id)
    assert [str(selector) for selector in agent.selectors] == sorted(
        [
            "x509pop:subject:cn:web1.example.org",
            "x509pop:serialnumber:a1b2c3d4e5f",
            f"x509pop:ca:fingerprint:{issuing.fingerprint}",
            f"x509pop:ca:fingerprint:{root.fingerprint}",
            "x509pop:san:rack:b:7",
        ]
    )
    assert (agent.attested_by, agent.attested_subject) == ("x509pop", machine.fingerprint)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["rsa-2048", "rsa-3072", "p-256", "p-384"],
)
def test_keys_that_prove(ca: CaBench, root: MachineCertificate, make: Callable[[], Any]) -> None:
    ca.enroll_by(root.leaf(ca.clock(), key=make()))


@pytest.mark.parametrize(
    "extensions",
    [
        LEAF_EXTENSIONS,
        ((usage("digital_signature"), False),),
        ((x509.BasicConstraints(ca=False, path_length=None), True), (usage("digital_signature"), True)),
        (
            (usage("digital_signature", "key_encipherment"), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), True),
        ),
        (
            (usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        ),
    ],
)
def test_leaves_that_are_good(ca: CaBench, root: MachineCertificate, extensions: Any) -> None:
    ca.enroll_by(root.leaf(ca.clock(), extensions=extensions))


def test_five_certificates_below_the_root(ca: CaBench, root: MachineCertificate) -> None:
    issuer = root
    for number in range(4):
        issuer = issuer.issuing(ca.clock(), f"CA {number}", extensions=ca_extensions())
    machine = issuer.leaf(ca.clock())
    assert len(machine.chain) == 5
    assert len(member(ca, ca.enroll_by(machine).spiffe_id).selectors) == 7


def test_issuing_ca_alone_can_be_named_and_its_sisters_stay_out(ca: CaBench, root: MachineCertificate) -> None:
    issuing, sister = root.issuing(ca.clock(), "CA 1"), root.issuing(ca.clock(), "CA 2")
    ca.take_certificates(issuing.pem)
    ca.enroll_by(issuing.leaf(ca.clock()))
    with pytest.raises(DeniedError):
        ca.enroll_by(sister.leaf(ca.clock()))


def test_root_in_the_chain_is_no_harm(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.issuing(ca.clock()).leaf(ca.clock())
    ca.enroll_by(machine, chain=[*machine.chain, root.der])


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("x509pop/cn/{{ .Subject.CommonName }}", "x509pop/cn/web1"),
        ("/{{.PluginName}}/{{ .Subject.CommonName }}", "x509pop/web1"),
        ("{{ .PluginName }}/{{ .TrustDomain }}/{{ .SerialNumberHex }}", "x509pop/example.org/abc"),
        ("x509pop/{{ .Subject.CommonName }}-{{ .SerialNumberHex }}.x", "x509pop/web1-abc.x"),
    ],
)
def test_agent_is_called_by_the_template(ca: CaBench, root: MachineCertificate, template: str, path: str) -> None:
    ca.take_certificates(root.pem, path_template=template)
    agent = ca.enroll_by(root.leaf(ca.clock(), serial=0xABC))
    assert agent.spiffe_id == f"spiffe://example.org/inborn/agent/{path}"
    ca.renew(agent)


def test_same_certificate_enrolls_again_with_a_new_key_and_ends_what_it_had(
    ca: CaBench, root: MachineCertificate
) -> None:
    machine = root.leaf(ca.clock())
    first = ca.enroll_by(machine)
    ca.clock.advance(days=8)  # its certificate has expired, and nobody had to come
    second = ca.enroll_by(machine)
    third = ca.enroll_by(machine)
    assert first.spiffe_id == second.spiffe_id == third.spiffe_id
    assert ca.is_revoked(second.leaf)
    with pytest.raises(DeniedError):
        ca.renew(second)
    ca.renew(third)


def test_lost_reply_is_asked_for_again_with_the_same_key(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.leaf(ca.clock())
    first = ca.enroll_by(machine)
    again = ca.enroll_by(machine, key=first.key)
    assert first.leaf.public_key() == again.leaf.public_key()
    ca.renew(again)


def test_reissued_certificate_of_the_same_name_is_the_same_agent(ca: CaBench, root: MachineCertificate) -> None:
    ca.take_certificates(root.pem, path_template="x509pop/{{ .Subject.CommonName }}")
    one, two = root.leaf(ca.clock()), root.leaf(ca.clock())
    before = ca.enroll_by(one)
    after = ca.enroll_by(two)
    assert before.spiffe_id == after.spiffe_id
    assert ca.is_revoked(before.leaf)
    assert member(ca, after.spiffe_id).attested_subject == two.fingerprint


def test_entry_names_nodes_by_what_their_certificates_say(ca: CaBench, root: MachineCertificate) -> None:
    issuing = root.issuing(ca.clock(), "Rack CA")
    web, db = issuing.leaf(ca.clock(), "web1"), root.leaf(ca.clock(), "db1")
    by_name = ca.create_entry("/web", node="selector:x509pop:subject:cn:web1")
    by_ca = ca.create_entry("/rack", node=f"selector:x509pop:ca:fingerprint:{issuing.fingerprint}")
    of_web, of_db = ca.enroll_by(web), ca.enroll_by(db)
    ca.issue(of_web, by_name.id)
    ca.issue(of_web, by_ca.id)
    for entry in (by_name, by_ca):
        with pytest.raises(DeniedError, match="is for node selector:x509pop"):
            ca.issue(of_db, entry.id)
    assert ca.reader.entries.get(by_name.id) is not None
    (listed,) = ca.entries.list(
        ca.reader, admin_pb2.ListEntriesRequest(node="selector:x509pop:subject:cn:web1")
    ).entries
    assert listed.node == "selector:x509pop:subject:cn:web1"


def test_feed_of_a_node_has_the_entries_for_its_selectors(ca: CaBench, root: MachineCertificate) -> None:
    agent = ca.enroll_by(root.leaf(ca.clock(), "web1"))
    entry = ca.create_entry("/web", node="selector:x509pop:subject:cn:web1")
    ca.create_entry("/db", node="selector:x509pop:subject:cn:db1")
    message = ca.feeds.open_node(agent.spiffe_id, member(ca, agent.spiffe_id), ca.reader.entries.all())
    assert [e.id for e in feed_pb2.FeedBody.FromString(message.body).node_update.entries] == [entry.id]


def test_selectors_are_those_of_the_last_evidence(ca: CaBench, root: MachineCertificate) -> None:
    ca.take_certificates(root.pem, path_template="x509pop/{{ .Subject.CommonName }}")
    entry = ca.create_entry("/rack", node="selector:x509pop:san:rack:7")
    agent = ca.enroll_by(root.leaf(ca.clock(), uris=["x509pop://example.org/rack:7"]))
    ca.issue(agent, entry.id)
    moved = ca.enroll_by(root.leaf(ca.clock(), uris=["x509pop://example.org/rack:8"]))
    with pytest.raises(DeniedError):
        ca.issue(moved, entry.id)
    by_token = ca.enroll(agent=agent.spiffe_id)
    assert (member(ca, by_token.spiffe_id).attested_by, member(ca, by_token.spiffe_id).selectors) == ("join_token", ())


def test_certificates_of_agents_are_revoked_by_selector(ca: CaBench, root: MachineCertificate) -> None:
    issuing = root.issuing(ca.clock(), "Stolen CA")
    stolen, other = ca.enroll_by(issuing.leaf(ca.clock())), ca.enroll_by(root.leaf(ca.clock()))
    renewed = ca.renew(stolen)
    answer = ca.revoke(selector=f"x509pop:ca:fingerprint:{issuing.fingerprint}")
    assert answer.certificates == 2
    assert answer.blocked
    with pytest.raises(DeniedError):
        ca.renew(renewed)
    ca.renew(other)


def test_what_is_set_is_shown_and_recorded(ca: CaBench, root: MachineCertificate) -> None:
    other = MachineCertificate.root(ca.clock(), "Other Root")
    answer = ca.take_certificates(b"# a comment\n", root.pem, other.pem)
    assert [a.subject for a in answer.authorities] == ["CN=Machines Root", "CN=Other Root"]
    assert [a.fingerprint for a in answer.authorities] == [root.fingerprint, other.fingerprint]
    assert answer.path_template == "{{ .PluginName }}/{{ .Fingerprint }}"
    assert ca.x509pop.get(ca.reader) == answer
    gone = ca.run(ca.x509pop.remove(admin_pb2.RemoveX509PopRequest(), ADMIN))
    assert gone == answer
    with pytest.raises(NotFoundError):
        ca.x509pop.get(ca.reader)
    with pytest.raises(NotFoundError):
        ca.run(ca.x509pop.remove(admin_pb2.RemoveX509PopRequest(), ADMIN))
    rows = [row for row in ca.reader.audit.rows(after_id=0, limit=100) if row.action.startswith("x509pop.")]
    assert [(row.action, row.actor) for row in rows] == [
        ("x509pop.set", ADMIN),
        ("x509pop.set", ADMIN),
        ("x509pop.remove", ADMIN),
    ]
    assert len(json.loads(json.dumps(dict(rows[1].detail)))["authorities_sha256"]) == 2


def test_enrollment_says_in_the_audit_trail_with_what(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.leaf(ca.clock())
    agent = ca.enroll_by(machine)
    (row,) = [row for row in ca.reader.audit.rows(after_id=0, limit=100) if row.action == "agent.enroll"]
    assert (row.actor, row.subject) == (f"x509pop:{machine.fingerprint}", agent.spiffe_id)
    assert "x509pop:subject:cn:web1" in str(row.detail["selectors"])


def bundles(ca: CaBench) -> dict[str, bytes]:
    root = MachineCertificate.root(ca.clock())
    key = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    expired = MachineCertificate.root(FakeClock().now.replace(year=2020))
    no_ca = MachineCertificate.root(ca.clock(), extensions=LEAF_EXTENSIONS)
    return {
        "empty": b"",
        "text": b"hello",
        "with its key": root.pem + key,
        "cut off": root.pem[:-40],
        "junk": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "twice": root.pem * 2,
        "too many": b"".join(MachineCertificate.root(ca.clock(), str(n)).pem for n in range(17)),
        "too large": root.pem + b"#" * 200_000,
        "expired": expired.pem,
        "no CA": no_ca.pem,
        "leaf": root.leaf(ca.clock()).pem,
    }


def test_bundles_that_are_none_change_nothing(ca: CaBench, root: MachineCertificate) -> None:
    before = ca.x509pop.get(ca.reader)
    for name, pem in bundles(ca).items():
        with pytest.raises(RequestError):
            pytest.fail(f"{name}: {ca.take_certificates(pem)}")
    assert ca.x509pop.get(ca.reader) == before
    ca.enroll_by(root.leaf(ca.clock()))


def test_settings_are_there_after_a_restart(ca: CaBench, root: MachineCertificate) -> None:
    from tests.rigs.fixtures_ca import open_bench

    machine = root.leaf(ca.clock())
    agent = ca.enroll_by(machine)
    ca.state.store.close()
    again = open_bench(ca.directory, ca.clock)
    try:
        assert again.enroll_by(machine).spiffe_id == agent.spiffe_id
    finally:
        again.state.store.close()
