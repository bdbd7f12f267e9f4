"""Attacks on getting in: by evidence that is another's, stale, forged, too large, or passed off as another kind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from inborn._internal.enrollment.x509pop import BadProof, UnusableKey
from inborn._internal.spiffe.x509_svid import load_certificate
from inborn._internal.wire.signed_request import BadSignature
from inborn.errors import DeniedError, ExhaustedError, RequestError, UnauthenticatedError
from inborn_ca.signer.commands.enrollment import Enrollment, UnknownKind
from inborn_ca.signer.commands.node_attestors.challenge import BadChallenge, ChallengeExpired
from inborn_ca.signer.commands.node_attestors.join_token.attestor import UnknownToken
from inborn_ca.signer.commands.node_attestors.x509pop.attestor import NotSetUp
from inborn_ca.signer.commands.node_attestors.x509pop.certificate_path import UntrustedNode
from inborn_ca.signer.commands.node_attestors.x509pop.path_template import InvalidTemplate, UnusableName
from inborn_ca.signer.state import Blocked
from inborn_ca.store.interface import CertificateFilter
from inborn_proto import admin_pb2, ca_pb2, signer_pb2
from tests.rigs.captured_front import CapturedFront
from tests.rigs.fixtures_ca import ADMIN, CaBench
from tests.rigs.front_rig import make_csr
from tests.rigs.machine_ca import (
    LEAF_EXTENSIONS,
    MachineCertificate,
    ca_extensions,
    challenge_request,
    proven,
    sign,
    usage,
    x509pop_body,
    x509pop_request,
)

NAMED_BY_CN = "x509pop/cn/{{ .Subject.CommonName }}"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def root(ca_bench: CaBench) -> MachineCertificate:
    return MachineCertificate.root(ca_bench.clock())


@pytest.fixture
def ca(ca_bench: CaBench, root: MachineCertificate) -> Iterator[CaBench]:
    """It takes certificates of the organisation's CA. In the end nobody has one of ours but whom the test let in."""
    ca_bench.take_certificates(root.pem)
    yield ca_bench
    rows = [row for row in ca_bench.reader.ledger.select(CertificateFilter()) if row.kind == "agent"]
    assert len(rows) == ca_bench.let_in, rows


@pytest.fixture
def machine(ca: CaBench, root: MachineCertificate) -> MachineCertificate:
    return root.issuing(ca.clock()).leaf(ca.clock())


def let_in(ca: CaBench, machine: MachineCertificate, **how: Any) -> Any:
    """An enrollment that must succeed."""
    holder = ca.enroll_by(machine, **how)
    ca.let_in += 1
    return holder


# -- the challenge -----------------------------------------------------------------------------------------------------


def test_challenge_replayed_for_another_csr(ca: CaBench, machine: MachineCertificate) -> None:
    honest, thief = new_key(), new_key()
    challenge = ca.challenge(honest)
    with pytest.raises(BadChallenge):
        ca.send(x509pop_request(machine, thief, challenge), thief)


def test_whole_enrollment_replayed_with_another_csr_in_it(ca: CaBench, machine: MachineCertificate) -> None:
    honest, thief = new_key(), new_key()
    request = x509pop_request(machine, honest, ca.challenge(honest))
    body = ca_pb2.EnrollBody.FromString(request.body)
    body.csr, body.challenge = make_csr(thief), ca.challenge(thief)
    with pytest.raises(BadProof):
        ca.send(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=request.proof), thief)


def test_expired_challenge(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    request = x509pop_request(machine, key, ca.challenge(key))
    ca.clock.advance(seconds=60)
    with pytest.raises(ChallengeExpired):
        ca.send(request, key)


def test_challenge_whose_end_was_moved(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    challenge = bytearray(ca.challenge(key))
    challenge[7] ^= 1
    with pytest.raises(BadChallenge):
        ca.send(x509pop_request(machine, key, bytes(challenge)), key)


@pytest.mark.parametrize("challenge", [b"x", bytes(56), bytes(57), bytes(10_000)])
def test_challenge_of_the_attackers_own(ca: CaBench, machine: MachineCertificate, challenge: bytes) -> None:
    key = new_key()
    with pytest.raises(BadChallenge):
        ca.send(x509pop_request(machine, key, challenge), key)


def test_no_challenge(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    with pytest.raises(RequestError, match="wants a challenge"):
        ca.send(x509pop_request(machine, key, b""), key)


def test_challenge_of_another_signer_or_of_the_same_one_before_its_restart(
    ca: CaBench, machine: MachineCertificate
) -> None:
    key = new_key()
    other = Enrollment(ca.state, monotonic=lambda: ca.clock().timestamp())
    challenge = other.challenge(challenge_request(key)).challenge
    with pytest.raises(BadChallenge):
        ca.send(x509pop_request(machine, key, challenge), key)


def test_challenge_for_a_hash_that_is_none(ca: CaBench) -> None:
    for octets in (b"", bytes(31), bytes(33), bytes(100_000)):
        with pytest.raises(RequestError):
            ca.enrollment.challenge(ca_pb2.ChallengeRequest(kind="x509pop", key_hash=octets))


# -- the proof ---------------------------------------------------------------------------------------------------------


def test_proof_by_another_key(ca: CaBench, machine: MachineCertificate) -> None:
    """The certificate is public; whoever has seen it does not have its key."""
    key = new_key()
    body = x509pop_body(machine, key, ca.challenge(key))
    for thief in (key, new_key()):
        with pytest.raises(BadProof):
            ca.send(proven(thief, body), key)


@pytest.mark.parametrize("proof", [b"", b"x", bytes(64), bytes(2048)])
def test_proof_that_is_no_signature(ca: CaBench, machine: MachineCertificate, proof: bytes) -> None:
    key = new_key()
    body = x509pop_body(machine, key, ca.challenge(key)).SerializeToString()
    with pytest.raises(BadProof):
        ca.send(ca_pb2.EnrollRequest(body=body, proof=proof), key)


def test_proof_over_another_body(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    challenge = ca.challenge(key)
    one, two = x509pop_body(machine, key, challenge), x509pop_body(machine, key, challenge)  # two nonces
    with pytest.raises(BadProof):
        ca.send(ca_pb2.EnrollRequest(body=one.SerializeToString(), proof=proven(machine.key, two).proof), key)


def test_signature_that_the_machine_made_for_something_else(ca: CaBench, machine: MachineCertificate) -> None:
    """The machine's key signs in TLS and elsewhere: under no other context does it speak to us."""
    key = new_key()
    octets = x509pop_body(machine, key, ca.challenge(key)).SerializeToString()
    for context in (b"", b"inborn enroll join_token v2\0", b"inborn signed request v1\0"):
        with pytest.raises(BadProof):
            ca.send(ca_pb2.EnrollRequest(body=octets, proof=sign(machine.key, octets, context)), key)


def test_rsa_machine_whose_key_signed_with_pkcs1(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.leaf(ca.clock(), key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    key = new_key()
    octets = x509pop_body(machine, key, ca.challenge(key)).SerializeToString()
    proof = machine.key.sign(b"inborn enroll x509pop v2\0" + octets, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(BadProof):
        ca.send(ca_pb2.EnrollRequest(body=octets, proof=proof), key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["rsa-1024", "p-521", "secp256k1"],
)
def test_weak_or_unknown_key(ca: CaBench, root: MachineCertificate, make: Callable[[], Any]) -> None:
    machine, key = root.leaf(ca.clock(), key=make()), new_key()
    body = x509pop_body(machine, key, ca.challenge(key)).SerializeToString()
    with pytest.raises(UnusableKey):
        ca.send(ca_pb2.EnrollRequest(body=body, proof=b"x"), key)


# -- the certificate ---------------------------------------------------------------------------------------------------


def refuses(ca: CaBench, machine: MachineCertificate, rule: str, **changed: Any) -> None:
    with pytest.raises(UntrustedNode, match=rule):
        ca.enroll_by(machine, **changed)


def test_leaf_of_another_ca(ca: CaBench) -> None:
    refuses(ca, MachineCertificate.root(ca.clock(), "Somebody").leaf(ca.clock()), "none of the admin's CAs")


def test_leaf_of_another_ca_of_the_same_name(ca: CaBench) -> None:
    refuses(ca, MachineCertificate.root(ca.clock()).leaf(ca.clock()), "none of the admin's CAs")


def test_leaf_that_signed_itself(ca: CaBench) -> None:
    stranger = MachineCertificate.root(ca.clock(), "web1", extensions=LEAF_EXTENSIONS)
    refuses(ca, stranger, "none of the admin's CAs", chain=[stranger.der])


def test_chain_with_the_attackers_root_at_its_end(ca: CaBench) -> None:
    attacker = MachineCertificate.root(ca.clock())
    machine = attacker.issuing(ca.clock()).leaf(ca.clock())
    refuses(ca, machine, "none of the admin's CAs", chain=[*machine.chain, attacker.der])


def test_leaf_issued_by_another_machine(ca: CaBench, machine: MachineCertificate) -> None:
    """A machine's own certificate is no CA's, whatever it signs (RFC 5280 6.1.4 k)."""
    refuses(ca, machine.leaf(ca.clock(), "db1"), "no CA's")


def test_expired_leaf(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.leaf(ca.clock(), life=dt.timedelta(minutes=5))
    ca.clock.advance(minutes=6)
    refuses(ca, machine, "expired")


def test_leaf_that_is_not_valid_yet(ca: CaBench, root: MachineCertificate) -> None:
    refuses(ca, root.leaf(ca.clock() + dt.timedelta(hours=1)), "valid from")


def test_expired_ca_of_the_admins(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.leaf(ca.clock(), life=dt.timedelta(days=400))
    ca.clock.advance(days=91)
    refuses(ca, machine, "'CN=Machines Root' expired")


def test_ca_certificate_as_leaf(ca: CaBench, root: MachineCertificate) -> None:
    refuses(ca, root.issuing(ca.clock()), "a CA's and no node's")
    refuses(ca, root, "a CA's and no node's", chain=[root.der])


CLIENT = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
NAMES_BELOW = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.org")], excluded_subtrees=None)
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)


@pytest.mark.parametrize(
    ("extensions", "rule"),
    [
        ((CLIENT,), "key usage digitalSignature"),
        (((usage("key_encipherment"), True), CLIENT), "key usage digitalSignature"),
        (((usage("digital_signature", "key_cert_sign"), True), CLIENT), "neither keyCertSign"),
        (
            (LEAF_EXTENSIONS[0], (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
            "not for client authentication",
        ),
        ((*LEAF_EXTENSIONS, UNKNOWN), "critical extension 1.3.6.1.4.1.99999.1"),
    ],
)
def test_leaf_that_is_for_something_else(ca: CaBench, root: MachineCertificate, extensions: Any, rule: str) -> None:
    refuses(ca, root.leaf(ca.clock(), extensions=extensions), rule)


@pytest.mark.parametrize(
    ("extensions", "rule"),
    [
        (((x509.BasicConstraints(ca=False, path_length=None), True),), "no CA's"),
        ((), "no CA's"),
        ((ca_extensions()[0], (usage("digital_signature"), True)), "may not sign certificates"),
        ((*ca_extensions(), (NAMES_BELOW, True)), "name constraints"),
        ((*ca_extensions(), (NAMES_BELOW, False)), "name constraints"),
        ((*ca_extensions(), UNKNOWN), "critical extension"),
        (
            (*ca_extensions(), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)),
            "not for client authentication",
        ),
    ],
)
def test_issuer_that_may_not_issue_this(ca: CaBench, root: MachineCertificate, extensions: Any, rule: str) -> None:
    refuses(ca, root.issuing(ca.clock(), extensions=extensions).leaf(ca.clock()), rule)


def test_issuer_with_a_key_that_is_dear_to_check(ca: CaBench, root: MachineCertificate) -> None:
    """A stranger chooses the certificates between; no signature is checked with a key that costs more than others."""
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    dear = rsa.RSAPublicNumbers(n=numbers.public_numbers.n, e=(1 << 2046) + 1).public_key()
    issuing = root.issuing(ca.clock(), key=_PublicOnly(dear))
    machine = MachineCertificate.root(ca.clock(), "Machines CA 1").leaf(ca.clock())
    refuses(ca, machine, "exponent above", chain=[machine.der, issuing.der])
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    refuses(ca, root.issuing(ca.clock(), key=small).leaf(ca.clock()), "RSA key has 1024 bits")


class _PublicOnly:
    """A key to be certified."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key

    def public_key(self) -> rsa.RSAPublicKey:
        return self._key


def test_ca_below_one_that_allows_none(ca: CaBench, root: MachineCertificate) -> None:
    issuing = root.issuing(ca.clock(), extensions=ca_extensions(0))
    below = issuing.issuing(ca.clock(), "Machines CA 2", extensions=ca_extensions())
    refuses(ca, below.leaf(ca.clock()), "allows 0 CAs below it, there are 1")


def test_chain_that_leaves_one_out(ca: CaBench, root: MachineCertificate) -> None:
    machine = root.issuing(ca.clock()).leaf(ca.clock())
    refuses(ca, machine, "none of the admin's CAs", chain=machine.chain[:1])


def test_certificate_that_was_altered(ca: CaBench, machine: MachineCertificate) -> None:
    der = machine.der.replace(b"web1", b"web2")
    refuses(ca, machine, "none of the admin's CAs", chain=[der, *machine.chain[1:]])


def test_workload_of_this_trust_domain_makes_itself_an_agent(ca: CaBench) -> None:
    """The admin cannot name our own authority: every workload has a certificate of it."""
    agent = ca.enroll()
    ca.let_in = 1
    for authority in ca.state.authorities:
        with pytest.raises(RequestError, match="authority of this trust domain"):
            ca.take_certificates(authority.certificate.public_bytes(Encoding.PEM))
    as_machine = MachineCertificate(certificate=agent.leaf, key=agent.key)
    refuses(ca, as_machine, "none of the admin's CAs", chain=list(agent.response.chain))


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_oversized_chain(ca: CaBench, machine: MachineCertificate) -> None:
    for count in (0, 6, 200):
        with pytest.raises(RequestError, match="chain has"):
            ca.enroll_by(machine, chain=[machine.der] * count)


def test_oversized_certificate_and_evidence(ca: CaBench, machine: MachineCertificate) -> None:
    padding_of = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(17 * 1024))
    assert machine.above is not None
    large = machine.above.leaf(ca.clock(), extensions=(*LEAF_EXTENSIONS, (padding_of, False)))
    with pytest.raises(RequestError, match="larger than 16384"):
        ca.enroll_by(large)
    with pytest.raises(RequestError, match="evidence is larger than"):
        ca.enroll_by(machine, chain=[bytes(16 * 1024)] * 6)
    with pytest.raises(RequestError, match="too large"):
        ca.enroll_by(machine, chain=[bytes(1024 * 1024)])


@pytest.mark.parametrize("evidence", [b"", b"\xff\xff", b"\x0a\x05junk!", b"\x0a\xff\xff\xff\xff\x0f"])
def test_evidence_that_is_junk(ca: CaBench, machine: MachineCertificate, evidence: bytes) -> None:
    with pytest.raises(RequestError):
        ca.enroll_by(machine, evidence=evidence)


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_nonce_that_is_none(ca: CaBench, machine: MachineCertificate, nonce: bytes) -> None:
    with pytest.raises(RequestError, match="nonce"):
        ca.enroll_by(machine, nonce=nonce)


def test_proof_that_is_too_long(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    body = x509pop_body(machine, key, ca.challenge(key)).SerializeToString()
    with pytest.raises(RequestError, match="proof is longer"):
        ca.send(ca_pb2.EnrollRequest(body=body, proof=bytes(2049)), key)


# -- two kinds confused ------------------------------------------------------------------------------------------------


def test_join_tokens_proof_sent_as_x509pop(ca: CaBench, machine: MachineCertificate) -> None:
    token, key = ca.create_token(), new_key()
    request = ca.enroll_request(token, key).request
    body = ca_pb2.EnrollBody.FromString(request.body)
    body.kind, body.challenge = "x509pop", ca.challenge(key)
    with pytest.raises(RequestError):
        ca.send(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=request.proof), key)
    body.evidence = ca_pb2.X509PopEvidence(chain=machine.chain, nonce=bytes(32)).SerializeToString()
    with pytest.raises(BadProof):
        ca.send(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=request.proof), key)
    assert ca.reader.tokens.uses(token.id) == {}


def test_certificates_proof_sent_as_join_token(ca: CaBench, machine: MachineCertificate) -> None:
    token, key = ca.create_token(), new_key()
    body = x509pop_body(machine, key, b"", kind="join_token", evidence=token.id)
    with pytest.raises((BadSignature, RequestError)):
        ca.send(proven(machine.key, body), key)
    with pytest.raises((UnknownToken, RequestError)):
        ca.enroll_by(machine, kind="join_token")
    assert ca.reader.tokens.uses(token.id) == {}


def test_join_token_with_a_challenge(ca: CaBench) -> None:
    token, key = ca.create_token(), new_key()
    forwarded = ca.enroll_request(token, key, challenge=ca.challenge(key))
    with pytest.raises(RequestError, match="takes no challenge"):
        ca.run(ca.enrollment.enroll(forwarded))
    with pytest.raises(RequestError, match="takes no challenge"):
        ca.enrollment.challenge(challenge_request(key, "join_token"))


@pytest.mark.parametrize("kind", ["", "X509POP", "x509pop\0", "tpm", "x" * 100_000])
def test_kind_that_is_none(ca: CaBench, machine: MachineCertificate, kind: str) -> None:
    with pytest.raises(UnknownKind):
        ca.enroll_by(machine, kind=kind)
    with pytest.raises(UnknownKind):
        ca.enrollment.challenge(challenge_request(new_key(), kind))


def test_enrollment_for_another_trust_domain(ca: CaBench, machine: MachineCertificate) -> None:
    with pytest.raises(RequestError, match="trust domain"):
        ca.enroll_by(machine, trust_domain="other.org")


def test_certificate_where_no_admin_has_named_a_ca(ca: CaBench, machine: MachineCertificate) -> None:
    ca.run(ca.x509pop.remove(admin_pb2.RemoveX509PopRequest(), ADMIN))
    with pytest.raises(NotSetUp):
        ca.enroll_by(machine)


# -- coming again ------------------------------------------------------------------------------------------------------


def ban(ca: CaBench, agent: str) -> None:
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent=agent), ADMIN))


def test_banned_agent_attests_again(ca: CaBench, machine: MachineCertificate) -> None:
    agent = let_in(ca, machine)
    ban(ca, agent.spiffe_id)
    with pytest.raises(DeniedError, match="is banned"):
        ca.enroll_by(machine)
    with pytest.raises(DeniedError, match="is banned"):
        ca.enroll_by(machine, key=agent.key)
    ca.unblock(f"node:{agent.spiffe_id}")
    let_in(ca, machine)


def test_banned_agent_gets_its_certificate_reissued(ca: CaBench, root: MachineCertificate) -> None:
    """By the name: the ban covers what the CA issues to that name later. By the fingerprint: it does not."""
    ca.take_certificates(root.pem, path_template=NAMED_BY_CN)
    ban(ca, let_in(ca, root.leaf(ca.clock())).spiffe_id)
    with pytest.raises(DeniedError, match="is banned"):
        ca.enroll_by(root.leaf(ca.clock()))
    ca.take_certificates(root.pem)
    let_in(ca, root.leaf(ca.clock()))


def test_revoked_selector_holds_against_every_certificate_of_that_name(ca: CaBench, root: MachineCertificate) -> None:
    agent = let_in(ca, root.leaf(ca.clock()))
    ca.revoke(selector="x509pop:subject:cn:web1")
    for machine in (root.leaf(ca.clock()), root.leaf(ca.clock())):
        with pytest.raises(Blocked):
            ca.enroll_by(machine)
    with pytest.raises(DeniedError):
        ca.renew(agent)
    let_in(ca, root.leaf(ca.clock(), "web2"))


def test_thief_of_a_certificates_key_takes_what_the_agent_had_and_not_quietly(
    ca: CaBench, machine: MachineCertificate
) -> None:
    """Two that share one certificate come again and again, each ending the other. That is limited, and an alarm."""
    first, second = let_in(ca, machine), let_in(ca, machine)
    assert first.spiffe_id == second.spiffe_id
    assert ca.is_revoked(first.leaf)
    assert not ca.is_revoked(second.leaf)
    for _ in range(5):
        let_in(ca, machine)
    with pytest.raises(ExhaustedError):
        ca.enroll_by(machine)
    (alarm,) = ca.reader.audit.alarms()
    assert (alarm.kind, alarm.subject) == ("node.enrolls_again", first.spiffe_id)
    ca.clock.advance(minutes=10)
    let_in(ca, machine)


def test_key_that_was_renewed_enrolls_again(ca: CaBench, machine: MachineCertificate) -> None:
    """Who has an old key from a backup, and the certificate, comes with a new key, or not at all."""
    agent = let_in(ca, machine)
    ca.renew(agent)
    ca.let_in += 1
    with pytest.raises(RequestError, match="has been renewed"):
        ca.enroll_by(machine, key=agent.key)


def test_csr_with_the_key_of_another_agent(ca: CaBench, root: MachineCertificate) -> None:
    one = let_in(ca, root.leaf(ca.clock(), "web1"))
    with pytest.raises(DeniedError, match="is already that of"):
        ca.enroll_by(root.leaf(ca.clock(), "web2"), key=one.key)


def test_refused_evidence_fills_no_table(ca: CaBench, root: MachineCertificate) -> None:
    """The attacker chooses what is in his certificates; the rows of his denials are one with a count."""
    for number in range(20):
        stranger = MachineCertificate.root(ca.clock(), f"CA {number}")
        with pytest.raises(UntrustedNode):
            ca.enroll_by(stranger.leaf(ca.clock(), f"web{number}"))
    (row,) = [row for row in ca.reader.audit.rows(after_id=0, limit=1000) if row.action.endswith(".denied")]
    assert (row.actor, row.count) == ("unknown", 20)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../ca/1", "a/b", "..", ".", "", "web 1", "web%2f1", "wéb", "x" * 300, "web1\n", "{{ .Fingerprint }}"]
)
def test_template_escape_by_a_name(ca: CaBench, root: MachineCertificate, name: str) -> None:
    ca.take_certificates(root.pem, path_template="x509pop/{{ .Subject.CommonName }}")
    machine = root.leaf(ca.clock(), name) if name else root.leaf(ca.clock(), [])
    with pytest.raises((UnusableName, UntrustedNode)):
        ca.enroll_by(machine)


@pytest.mark.parametrize(
    "template",
    [
        "{{ .Subject.CommonName }}",  # could be the ID of an agent that came with a token
        "/{{ .Fingerprint }}",
        "../ca/{{ .Fingerprint }}",
        "x509pop/../../ca/{{ .Fingerprint }}",
        "x509pop/./{{ .Fingerprint }}",
        "x509pop//{{ .Fingerprint }}",
        "x509pop/{{ .Fingerprint }}/",
        "//x509pop/{{ .Fingerprint }}",
        "x509pop{{ .Fingerprint }}",
        "x509pop/all",
        "x509pop/{{ .TrustDomain }}",
        "x509pop/{{ .Subject.Organization }}",
        "x509pop/{{ .Fingerprint | upper }}",
        '{{ .PluginName }}/{{ env "HOME" }}',
        "x509pop/{{.Fingerprint",
        "x509pop/{{ .Fingerprint }}}}",
        "x509pop/%2e%2e/{{ .Fingerprint }}",
        "x509pop/ü{{ .Fingerprint }}",
        "x509pop/{{ .Fingerprint }}\n",
        "x509pop/" + "a" * 300 + "{{ .Fingerprint }}",
    ],
)
def test_template_escape_by_the_template(ca: CaBench, root: MachineCertificate, template: str) -> None:
    before = ca.reader.meta.get("node_attestor.x509pop")
    with pytest.raises(InvalidTemplate):
        ca.take_certificates(root.pem, path_template=template)
    assert ca.reader.meta.get("node_attestor.x509pop") == before


def test_two_common_names(ca: CaBench, root: MachineCertificate) -> None:
    refuses(ca, root.leaf(ca.clock(), ["web1", "db1"]), "2 common names")


@pytest.mark.parametrize("name", ["web1\x1b[2J", "web\u20281", "web\n1"])
def test_common_name_that_would_write_in_a_log(ca: CaBench, root: MachineCertificate, name: str) -> None:
    refuses(ca, root.leaf(ca.clock(), name), "cannot be a selector")


def test_names_of_many_uris(ca: CaBench, root: MachineCertificate) -> None:
    uris = [f"x509pop://example.org/rack:{number}" for number in range(17)]
    refuses(ca, root.leaf(ca.clock(), uris=uris), "17 URIs")
    refuses(ca, root.leaf(ca.clock(), uris=["x509pop://example.org/rack"]), "KEY:VALUE")


# -- a captured front --------------------------------------------------------------------------------------------------


@pytest.fixture
def front(tmp_path: Path) -> Iterator[CapturedFront]:
    front = CapturedFront(tmp_path)
    try:
        yield front
    finally:
        front.end()


def test_captured_front_swaps_csrs_and_answers_challenges(front: CapturedFront) -> None:
    now = dt.datetime.now(dt.UTC)
    root = MachineCertificate.root(now)
    machine = root.leaf(now)
    front.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem))
    honest, thief = new_key(), new_key()

    def challenge(key: ec.EllipticCurvePrivateKey) -> bytes:
        return front.call("Challenge", challenge_request(key), ca_pb2.ChallengeResponse).challenge

    # It hands the joiner a challenge that it asked for with its own key, or one that it made up.
    for given in (challenge(thief), bytes(56)):
        with pytest.raises(UnauthenticatedError):
            front.forward_enroll(x509pop_request(machine, honest, given))
    # It puts its own CSR into what the joiner signed, with a challenge that is good for it.
    true = x509pop_request(machine, honest, challenge(honest))
    body = ca_pb2.EnrollBody.FromString(true.body)
    body.csr, body.challenge = make_csr(thief), challenge(thief)
    with pytest.raises(BadProof):
        front.forward_enroll(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=true.proof))
    # It cannot name a CA of its own.
    with pytest.raises(DeniedError):
        front.call("/inborn.admin.v1.Admin/SetX509Pop", admin_pb2.SetX509PopRequest(), admin_pb2.X509Pop)
    # It can pass on what the joiner sent, once more too: each certificate is for the joiner's key.
    for _ in range(2):
        answer = front.forward_enroll(true)
        assert answer.spiffe_id == f"spiffe://example.org/inborn/agent/x509pop/{machine.fingerprint}"
        assert load_certificate(answer.chain[0]).public_key() == honest.public_key()


def test_origin_that_the_front_makes_up_changes_nothing(ca: CaBench, machine: MachineCertificate) -> None:
    key = new_key()
    request = x509pop_request(machine, key, ca.challenge(key))
    forwarded = signer_pb2.ForwardedEnroll(request=request, origin="x" * 10_000)
    assert ca.run(ca.enrollment.enroll(forwarded)).spiffe_id.endswith(machine.fingerprint)
    ca.let_in = 1
