"""X509-SVIDs: what a leaf must look like (X509-SVID 2, 4, 5.2), chains, keys and concatenated DER."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from inborn._internal.spiffe.x509_svid import (
    MAX_CERTIFICATE_SIZE,
    MAX_CHAIN_LENGTH,
    InvalidSvid,
    X509Svid,
    load_certificate,
    parse_chain,
    read_certificate,
    serial_octets,
    split_der,
)
from inborn.errors import RequestError
from tests.rigs import certificates
from tests.rigs.certificates import NOW, Credential, Shape, make_issuing, make_leaf, make_root


@pytest.fixture(scope="module")
def root() -> Credential:
    return make_root()


@pytest.fixture(scope="module")
def issuing(root: Credential) -> Credential:
    return make_issuing(root)


def test_facts_of_a_leaf(issuing: Credential) -> None:
    leaf = make_leaf(issuing, serial=0x0102030405)
    facts = read_certificate(leaf.certificate)
    spki = leaf.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert str(facts.spiffe_id) == certificates.ID
    assert facts.serial == bytes.fromhex("0102030405")
    assert facts.key_hash == hashlib.sha256(spki).digest()
    assert facts.authority == issuing.key_id
    assert facts.not_before == NOW - dt.timedelta(seconds=30)
    assert facts.not_after == NOW + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (certificates.leaf_with_two_uris, "exactly one URI name, has 2"),
        (certificates.leaf_without_uri, "exactly one URI name, has 0"),
        (certificates.leaf_without_names, r"no extension 2\.5\.29\.17"),
        (certificates.leaf_of_root_path, "has no path"),
        (certificates.leaf_with_https_uri, "does not begin with spiffe://"),
        (certificates.leaf_with_upper_case_trust_domain, "character other than a-z"),
        (certificates.ca_as_leaf, "certificate of a CA"),
        (certificates.leaf_without_key_usage, r"no extension 2\.5\.29\.15"),
        (certificates.leaf_with_key_usage_not_critical, "key usage is not critical"),
        (certificates.leaf_without_digital_signature, "lacks digitalSignature"),
        (certificates.leaf_with_cert_sign, "keyCertSign or cRLSign"),
        (certificates.leaf_with_crl_sign, "keyCertSign or cRLSign"),
        (certificates.leaf_with_server_auth_only, "lacks serverAuth or clientAuth"),
        (certificates.leaf_with_client_auth_only, "lacks serverAuth or clientAuth"),
        (certificates.leaf_with_any_extended_usage_only, "lacks serverAuth or clientAuth"),
        (certificates.leaf_without_authority_key_id, r"no extension 2\.5\.29\.35"),
        (certificates.leaf_with_unreadable_name, "cannot be read"),
        (certificates.leaf_with_names_twice, "cannot be read"),
        (certificates.leaf_with_unreadable_name_constraint, "cannot be read"),
        (certificates.leaf_with_rsa_1024, "RSA key has 1024 bits"),
        (certificates.leaf_with_rsa_of_a_broken_byte, "RSA key has 2052 bits"),
        (certificates.leaf_with_p192, "curve secp192r1"),
        (certificates.leaf_with_dsa, "which is not taken"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_leaf_is_no_svid(issuing: Credential, make: Callable[[Credential], Credential], rule: str) -> None:
    with pytest.raises(InvalidSvid, match=rule):
        read_certificate(make(issuing).certificate)


@pytest.mark.filterwarnings("ignore:Parsed a serial number:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [certificates.leaf_with_serial_zero, certificates.leaf_with_negative_serial, certificates.leaf_with_long_serial],
)
def test_serial_must_be_positive_and_have_20_octets_at_most(
    issuing: Credential, make: Callable[[Credential], Credential]
) -> None:
    with pytest.raises(InvalidSvid, match="serial"):
        read_certificate(make(issuing).certificate)


def test_signing_certificate_cannot_authenticate(root: Credential, issuing: Credential) -> None:
    for authority in (root, issuing):
        with pytest.raises(InvalidSvid):
            read_certificate(authority.certificate)


def test_absent_basic_constraints_mean_that_it_is_no_ca(issuing: Credential) -> None:
    read_certificate(make_leaf(issuing, shape=Shape(is_ca=None)).certificate)


def test_extended_key_usage_may_be_absent_or_have_more(issuing: Credential) -> None:
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH)
    read_certificate(make_leaf(issuing, shape=Shape(extended=None)).certificate)
    read_certificate(make_leaf(issuing, shape=Shape(extended=usages)).certificate)


def test_key_encipherment_and_key_agreement_are_allowed(issuing: Credential) -> None:
    usages = frozenset({"digital_signature", "key_encipherment", "key_agreement"})
    read_certificate(make_leaf(issuing, shape=Shape(usages=usages)).certificate)


def test_dns_names_and_a_subject_are_allowed(issuing: Credential) -> None:
    leaf = make_leaf(issuing, dns_names=("a.example.org", "b.example.org"), common_name="a")
    assert str(read_certificate(leaf.certificate).spiffe_id) == certificates.ID


def test_leaf_may_have_an_ed25519_key(issuing: Credential) -> None:
    leaf = make_leaf(issuing, key=ed25519.Ed25519PrivateKey.generate())
    assert leaf.svid().facts.authority == issuing.key_id


def test_svid_is_read_from_concatenated_der(issuing: Credential) -> None:
    leaf = make_leaf(issuing)
    svid = X509Svid.parse(leaf.chain_der, leaf.key_der, hint="internal", issued_at=NOW)
    assert svid.chain == leaf.chain
    assert svid.leaf == leaf.certificate
    assert (svid.hint, svid.issued_at) == ("internal", NOW)
    assert (svid.chain_der(), svid.chain_pem()) == (leaf.chain_der, leaf.chain_pem)
    assert (svid.key_der(), svid.key_pem()) == (leaf.key_der, leaf.key_pem)
    assert str(svid.spiffe_id) == certificates.ID


def test_svid_hides_its_key_in_repr(issuing: Credential) -> None:
    assert "private_key" not in repr(make_leaf(issuing).svid())


def test_key_of_another_certificate_is_refused(issuing: Credential) -> None:
    with pytest.raises(InvalidSvid, match="not that of the certificate"):
        X509Svid.parse(make_leaf(issuing).chain_der, make_leaf(issuing).key_der)


@pytest.mark.parametrize("key", [b"", b"\x30\x00", b"-----BEGIN PRIVATE KEY-----\n"])
def test_key_that_is_not_der_is_refused(issuing: Credential, key: bytes) -> None:
    with pytest.raises(InvalidSvid, match="PKCS#8"):
        X509Svid.parse(make_leaf(issuing).chain_der, key)


def test_encrypted_key_is_refused(issuing: Credential) -> None:
    leaf = make_leaf(issuing)
    key = leaf.key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(InvalidSvid, match="PKCS#8"):
        X509Svid.parse(leaf.chain_der, key)


def test_rsa_key_is_refused(issuing: Credential) -> None:
    leaf = make_leaf(issuing, key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(InvalidSvid, match="neither EC nor Ed25519"):
        leaf.svid()


def test_serial_octets_have_no_leading_zeros() -> None:
    assert serial_octets(1) == b"\x01"
    assert serial_octets(0x80) == b"\x80"
    assert serial_octets(2**160 - 1) == b"\xff" * 20
    for bad in (0, -1, 2**160):
        with pytest.raises(InvalidSvid, match="serial"):
            serial_octets(bad)


# Concatenated DER.


def test_split_der_gives_the_certificates_back(root: Credential, issuing: Credential) -> None:
    assert split_der(b"") == []
    assert split_der(issuing.der + root.der) == [issuing.der, root.der]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"\x31\x00", "no DER sequence at byte 0"),
        (b"\x30", "no DER sequence at byte 0"),
        (b"\x30\x00\x00", "no DER sequence at byte 2"),
        (b"\x30\x00\n", "no DER sequence at byte 2"),
        (b"\x30\x01", "cut off"),
        (b"\x30\x82\xff\xff\x00", "cut off"),
        (b"\x30\x80\x00\x00", "bad DER length"),  # indefinite: BER alone has it
        (b"\x30\x84\x00\x00\x00\x00", "bad DER length"),  # 4 bytes of length: more than any message of ours
        (b"\x30\xff", "bad DER length"),
        (b"\x30\x82\x01", "bad DER length"),
        (b"\x30\x81\x01\x00", "bad DER length"),  # not the shortest form
        (b"\x30\x82\x00\x80" + bytes(128), "bad DER length"),
        (b"-----BEGIN CERTIFICATE-----", "no DER sequence at byte 0"),
    ],
)
def test_split_der_refuses_what_is_not_der(octets: bytes, why: str) -> None:
    with pytest.raises(InvalidSvid, match=why):
        split_der(octets)


def test_split_der_stops_at_its_limit() -> None:
    assert len(split_der(b"\x30\x00" * 64)) == 64
    with pytest.raises(InvalidSvid, match="more than 64"):
        split_der(b"\x30\x00" * 65)
    with pytest.raises(InvalidSvid, match="more than 2"):
        split_der(b"\x30\x00" * 3, limit=2)


@pytest.mark.parametrize("data", [b"", []])
def test_empty_chain_is_refused(data: bytes | list[bytes]) -> None:
    with pytest.raises(InvalidSvid, match="chain is empty"):
        parse_chain(data)


def test_chain_longer_than_the_limit_is_refused(issuing: Credential) -> None:
    assert len(parse_chain([issuing.der] * MAX_CHAIN_LENGTH)) == MAX_CHAIN_LENGTH
    with pytest.raises(InvalidSvid, match="longer than"):
        parse_chain([issuing.der] * (MAX_CHAIN_LENGTH + 1))
    with pytest.raises(InvalidSvid, match="more than"):
        parse_chain(issuing.der * (MAX_CHAIN_LENGTH + 1))


def test_huge_certificate_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidSvid, match=f"larger than {MAX_CERTIFICATE_SIZE}"):
        load_certificate(b"\x30\x83\x01\x00\x00" + bytes(0x10000))


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_certificate_that_is_cut_off_is_refused(issuing: Credential, cut: int) -> None:
    with pytest.raises(InvalidSvid, match="not a DER certificate"):
        load_certificate(issuing.der[:cut])


def test_pem_and_trailing_octets_are_refused(issuing: Credential) -> None:
    for octets in (issuing.pem, issuing.der + b"\x00", issuing.der + issuing.der):
        with pytest.raises(InvalidSvid, match="not a DER certificate"):
            load_certificate(octets)


def test_point_that_is_not_on_the_curve_is_refused(issuing: Credential) -> None:
    leaf = make_leaf(issuing)
    assert isinstance(leaf.key, ec.EllipticCurvePrivateKey)
    point = leaf.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    off = load_certificate(leaf.der.replace(point, point[:-1] + bytes([point[-1] ^ 1])))
    with pytest.raises(InvalidSvid, match="cannot be read"):
        read_certificate(off)


def test_refusals_are_the_senders_fault() -> None:
    assert issubclass(InvalidSvid, RequestError)
