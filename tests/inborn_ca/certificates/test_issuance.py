"""Requests that are read, certificates that are prepared and signed."""

from __future__ import annotations

import copy
import datetime as dt
import os
import pickle
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import key_sha256, read_certificate
from inborn._internal.verification.verify import authorize_any, verify_chain
from inborn.errors import InternalError
from inborn_ca.authorities.authority_life import key_id, make_issuing, make_root
from inborn_ca.certificates import issuance, template
from inborn_ca.certificates.issuance import (
    BadCsr,
    IssuerExpired,
    IssuerKey,
    IssuerNotYetValid,
    Prepared,
    issue,
    prepare,
    read_csr,
    read_proven_key,
)
from inborn_ca.certificates.lint import LintError
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.certificates.template import Templates

TD = TrustDomain("example.org")
NOW = dt.datetime(2026, 1, 1, 12, 0, 0, 700_000, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
WEB = SpiffeId(trust_domain=TD, path="/web")

ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER_KEY = ec.generate_private_key(ec.SECP256R1())
SIGNER = IssuerKey(ISSUER_KEY)
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = make_root(trust_domain=TD, key=ROOT_KEY, now=NOW, life=dt.timedelta(days=3650))
ISSUER = make_issuing(
    trust_domain=TD, root=ROOT, root_key=ROOT_KEY, key=ISSUER_KEY, now=NOW, life=dt.timedelta(days=60)
)


def a_prepared(**changes: object) -> Prepared:
    arguments: dict = {
        "spiffe_id": WEB,
        "public_key": LEAF_KEY.public_key(),
        "serial": SerialSource().next(NOW, os.urandom(11)),
        "issuer": ISSUER,
        "ttl": HOUR,
        "now": NOW,
        "backdate": dt.timedelta(seconds=30),
    }
    return prepare(**(arguments | changes))


def a_csr(key: object = LEAF_KEY, *extensions: x509.ExtensionType, algorithm: object = hashes.SHA256()) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "*.example.org")])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = None
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


# Defects of a request. Each function is named after what is wrong.


def empty() -> bytes:
    return b""


def not_der() -> bytes:
    return b"-----BEGIN CERTIFICATE REQUEST-----"


def two_hundred_kib() -> bytes:
    return a_csr(LEAF_KEY, x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x" * 200 * 1024))


def two_hundred_kib_of_zeros() -> bytes:
    return bytes(200 * 1024)


def cut_off() -> bytes:
    return a_csr()[:-1]


def something_behind() -> bytes:
    return a_csr() + b"\0"


def a_certificate() -> bytes:
    return ISSUER.public_bytes(Encoding.DER)


def p384() -> bytes:
    return a_csr(ec.generate_private_key(ec.SECP384R1()))


def p521() -> bytes:
    return a_csr(ec.generate_private_key(ec.SECP521R1()))


def secp256k1() -> bytes:
    return a_csr(ec.generate_private_key(ec.SECP256K1()))


def rsa_2048() -> bytes:
    return a_csr(rsa.generate_private_key(65537, 2048))


def ed25519_key() -> bytes:
    return a_csr(ed25519.Ed25519PrivateKey.generate())


def sha3() -> bytes:
    return a_csr(algorithm=hashes.SHA3_256())


def point_off_the_curve() -> bytes:
    point = LEAF_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return a_csr().replace(point, point[:-1] + bytes([point[-1] ^ 1]))


def point_at_infinity() -> bytes:
    point = LEAF_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return a_csr().replace(point, b"\x04" + bytes(64))


def somebody_elses_key() -> bytes:
    mine, theirs = (
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (LEAF_KEY, ISSUER_KEY)
    )
    return a_csr().replace(mine, theirs)


def another_subject_than_was_signed() -> bytes:
    return a_csr().replace(b"*.example.org", b"x.example.org")


@pytest.mark.parametrize(
    "defect",
    [
        empty,
        not_der,
        two_hundred_kib,
        two_hundred_kib_of_zeros,
        cut_off,
        something_behind,
        a_certificate,
        p384,
        p521,
        secp256k1,
        rsa_2048,
        ed25519_key,
        sha3,
        point_off_the_curve,
        point_at_infinity,
        somebody_elses_key,
        another_subject_than_was_signed,
    ],
    ids=lambda defect: defect.__name__,
)
def test_a_request_with_a_defect_is_refused(defect: Callable[[], bytes]) -> None:
    with pytest.raises(BadCsr) as caught:
        read_csr(defect())
    assert "\n" not in caught.value.message


def test_nothing_of_a_request_is_used_but_its_key() -> None:
    csr = a_csr(
        LEAF_KEY,
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName(
            [
                x509.UniformResourceIdentifier("spiffe://example.org/admin"),
                x509.UniformResourceIdentifier("spiffe://example.org/other"),
                x509.DNSName("*.example.org"),
                x509.DNSName("ca.example.org"),
            ]
        ),
    )
    key = read_csr(csr)
    assert key_sha256(key) == key_sha256(LEAF_KEY.public_key())
    certificate = x509.load_der_x509_certificate(issue(a_prepared(public_key=key), SIGNER))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(str(WEB)), x509.DNSName(WEB.alias)]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.subject.rdns


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_encoding_that_lies_in_a_request_is_that_of_its_key() -> None:
    proven = read_proven_key(a_csr())
    assert proven.spki == spki_of(LEAF_KEY)
    assert proven.key == LEAF_KEY.public_key()


def test_somebody_elses_key_in_an_extension_is_never_certified() -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    smuggled = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), spki_of(theirs))
    proven = read_proven_key(a_csr(LEAF_KEY, smuggled))
    assert proven.key == LEAF_KEY.public_key()
    assert proven.spki == b""  # two lie there, so it is encoded anew
    for mine in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(BadCsr):
            read_proven_key(a_csr(mine, smuggled))


def test_what_is_issued_is_an_svid_that_peers_accept() -> None:
    prepared = a_prepared(dns_names=("web", "web.example.org"), common_name="web user")
    certificate = x509.load_der_x509_certificate(issue(prepared, SIGNER))
    facts = verify_chain(
        [certificate, ISSUER],
        bundles={TD: X509Bundle(trust_domain=TD, roots=(ROOT,))},
        revocations=RevocationSet(),
        authorize=authorize_any(),
        now=NOW,
    )
    assert facts == read_certificate(certificate)
    assert (facts.serial, facts.key_hash, facts.authority) == (prepared.serial, prepared.key_hash, key_id(ISSUER))
    assert prepared.authority == key_id(ISSUER)
    assert (facts.not_before, facts.not_after) == (prepared.not_before, prepared.not_after)
    assert facts.not_before == (NOW - dt.timedelta(seconds=30)).replace(microsecond=0)
    assert facts.not_after == (NOW + HOUR).replace(microsecond=0)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [WEB.alias, "web", "web.example.org"]
    assert not names.critical
    assert certificate.subject.rfc4514_string() == "CN=web user"


def test_names_are_critical_without_a_subject() -> None:
    certificate = x509.load_der_x509_certificate(issue(a_prepared(), SIGNER))
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_the_log_key_may_be_ed25519() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    log = SpiffeId(trust_domain=TD, path="/inborn/ca/1/log")
    certificate = x509.load_der_x509_certificate(issue(a_prepared(spiffe_id=log, public_key=key.public_key()), SIGNER))
    assert read_certificate(certificate).spiffe_id == log


def test_a_prepared_certificate_is_spent_once() -> None:
    prepared = a_prepared()
    issue(prepared, SIGNER)
    with pytest.raises(InternalError, match="has been spent"):
        issue(prepared, SIGNER)


class LostKey(IssuerKey):
    """A key in a device that has been pulled out."""

    def sign(self, octets: bytes) -> bytes:
        raise OSError("no device")


def test_a_failed_signature_spends_it_too() -> None:
    prepared = a_prepared()
    with pytest.raises(OSError, match="no device"):
        issue(prepared, LostKey(ISSUER_KEY))
    with pytest.raises(InternalError, match="has been spent"):
        issue(prepared, SIGNER)


@pytest.mark.parametrize("key", [ROOT_KEY, LEAF_KEY, ec.generate_private_key(ec.SECP256R1())])
def test_a_key_that_is_not_the_named_issuers_signs_nothing(key: ec.EllipticCurvePrivateKey) -> None:
    for prepared in (a_prepared(), Templates(ISSUER).prepare(**the_same_for_templates())):  # type: ignore[arg-type]
        with pytest.raises(InternalError, match="names an issuer whose key is"):
            issue(prepared, IssuerKey(key))
        with pytest.raises(InternalError, match="has been spent"):
            issue(prepared, SIGNER)


def test_an_issuer_that_borrows_anothers_key_identifier_is_told_apart_by_its_key() -> None:
    """The identifier in a certificate is what somebody wrote there; the key is what signs."""
    other = ec.generate_private_key(ec.SECP256R1())
    borrowed = (
        x509.CertificateBuilder(
            ISSUER.issuer,
            ISSUER.subject,
            other.public_key(),
            ISSUER.serial_number,
            ISSUER.not_valid_before_utc,
            ISSUER.not_valid_after_utc,
            list(ISSUER.extensions),
        )
    ).sign(ROOT_KEY, hashes.SHA256())
    prepared = a_prepared(issuer=borrowed)
    assert prepared.authority == a_prepared().authority
    with pytest.raises(InternalError, match="names an issuer whose key is"):
        issue(prepared, SIGNER)


def the_same_for_templates() -> dict[str, object]:
    return {
        "spiffe_id": WEB,
        "public_key": LEAF_KEY.public_key(),
        "serial": SerialSource().next(NOW, os.urandom(11)),
        "ttl": HOUR,
        "now": NOW,
        "backdate": dt.timedelta(seconds=30),
    }


def test_a_prepared_certificate_comes_from_prepare_alone() -> None:
    assert not any(hasattr(module, "MADE_HERE") for module in (issuance, template))
    with pytest.raises(InternalError, match="prepare"):
        Prepared(
            object(),
            tbs=b"",
            spiffe_id=WEB,
            serial=b"\1" * 19,
            key_hash=b"",
            authority=b"",
            issuer_key=SIGNER.key_hash,
            not_before=ISSUER.not_valid_before_utc,
            not_after=ISSUER.not_valid_after_utc,
        )


def test_a_prepared_certificate_has_no_subclass_that_could_skip_its_making() -> None:
    with pytest.raises(InternalError, match="no kinds"):
        type("Forged", (Prepared,), {"__init__": lambda self: None})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_prepared_certificate_is_not_duplicated_to_be_spent_twice(duplicate: Callable[[object], object]) -> None:
    prepared = a_prepared()
    with pytest.raises(InternalError, match="cannot be copied"):
        duplicate(prepared)
    issue(prepared, SIGNER)


def test_an_svid_never_outlives_its_signer() -> None:
    almost = ISSUER.not_valid_after_utc - dt.timedelta(minutes=5)
    assert a_prepared(now=almost).not_after == ISSUER.not_valid_after_utc


@pytest.mark.parametrize("late", [dt.timedelta(), dt.timedelta(seconds=1), dt.timedelta(days=1)])
def test_an_expired_authority_signs_nothing(late: dt.timedelta) -> None:
    with pytest.raises(IssuerExpired):
        a_prepared(now=ISSUER.not_valid_after_utc + late)


def test_an_authority_whose_life_has_not_begun_signs_nothing_and_the_clock_is_named() -> None:
    with pytest.raises(IssuerNotYetValid, match="is valid from") as refusal:
        a_prepared(now=ISSUER.not_valid_before_utc - dt.timedelta(days=400))
    assert "clock" in refusal.value.hint


def test_an_svid_never_begins_before_its_signer() -> None:
    prepared = a_prepared(now=ISSUER.not_valid_before_utc + dt.timedelta(seconds=1))
    assert prepared.not_before == ISSUER.not_valid_before_utc


@pytest.mark.parametrize(
    "changes",
    [
        {"spiffe_id": TD.id},
        {"spiffe_id": SpiffeId(trust_domain=TrustDomain("other.org"), path="/web")},
        {"dns_names": ("*.example.org",)},
        {"dns_names": (WEB.alias,)},
        {"dns_names": ("x.spiffe.alt",)},
        {"dns_names": ("ü",)},
        {"dns_names": ("",)},
        {"common_name": "x" * 65},
        {"ttl": dt.timedelta()},
        {"ttl": dt.timedelta(seconds=-1)},
        {"serial": b"\1" * 18},
        {"serial": b"\0" * 19},
        {"serial": b"\xff" * 19},
        {"public_key": ec.generate_private_key(ec.SECP521R1()).public_key()},
    ],
)
def test_a_grant_that_should_not_exist_is_caught_before_it_is_signed(changes: dict[str, object]) -> None:
    with pytest.raises(InternalError):
        a_prepared(**changes)


def test_an_svid_cannot_issue() -> None:
    leaf = x509.load_der_x509_certificate(issue(a_prepared(), SIGNER))
    with pytest.raises(LintError):
        a_prepared(issuer=leaf)
