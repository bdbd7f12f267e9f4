"""Bundles (SPIFFE Trust Domain and Bundle 4, X509-SVID 6)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import MAX_ROOTS, InvalidBundle, X509Bundle, bundle_digest
from inborn._internal.spiffe.x509_svid import InvalidSvid
from tests.rigs import certificates
from tests.rigs.certificates import Credential, Key, make_bundle, make_issuing, make_leaf, make_root

EXAMPLE = TrustDomain("example.org")


@pytest.fixture(scope="module")
def root() -> Credential:
    return make_root()


@pytest.fixture(scope="module")
def other() -> Credential:
    return make_root()


def octets(text: object) -> bytes:
    assert isinstance(text, str)
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_bundle_is_read_from_concatenated_der_and_from_a_list(root: Credential, other: Credential) -> None:
    bundle = make_bundle(root, other)
    assert X509Bundle.parse(EXAMPLE, root.der + other.der) == bundle
    assert X509Bundle.parse(EXAMPLE, [root.der, other.der]) == bundle
    assert bundle.der() == root.der + other.der
    assert bundle.pem() == root.pem + other.pem


@pytest.mark.parametrize("data", [b"", []])
def test_empty_bundle_is_refused(data: bytes | list[bytes]) -> None:
    with pytest.raises(InvalidBundle, match=r"bundle of example\.org is empty"):
        X509Bundle.parse(EXAMPLE, data)


def test_bundle_has_a_limit(root: Credential) -> None:
    assert len(X509Bundle.parse(EXAMPLE, root.der * MAX_ROOTS).roots) == MAX_ROOTS
    for data in (root.der * (MAX_ROOTS + 1), [root.der] * (MAX_ROOTS + 1), root.der * 10_000, [root.der] * 10_000):
        with pytest.raises(InvalidSvid, match="more than"):
            X509Bundle.parse(EXAMPLE, data)


def test_endless_bundle_is_refused_after_a_few(root: Credential) -> None:
    class Endless:
        taken = 0

        def __iter__(self) -> Endless:
            return self

        def __next__(self) -> bytes:
            self.taken += 1
            assert self.taken < 1000
            return root.der

    with pytest.raises(InvalidSvid, match="more than"):
        X509Bundle.parse(EXAMPLE, Endless())


def test_leaf_in_a_bundle_is_refused(root: Credential) -> None:
    with pytest.raises(InvalidBundle, match="no CA"):
        make_bundle(make_leaf(make_issuing(root)))


def test_certificate_without_basic_constraints_in_a_bundle_is_refused() -> None:
    shape = certificates.Shape(uris=("spiffe://example.org",), is_ca=None, common_name="root")
    with pytest.raises(InvalidBundle, match="without basic constraints"):
        make_bundle(make_root(shape=shape))


def test_root_with_an_extension_twice_is_refused(root: Credential) -> None:
    twice = certificates.leaf_with_names_twice(make_issuing(root))
    with pytest.raises(InvalidBundle):
        make_bundle(twice)


def test_root_whose_names_cannot_be_read_is_refused(root: Credential) -> None:
    with pytest.raises(InvalidBundle):
        make_bundle(certificates.leaf_with_unreadable_name(make_issuing(root)))


@pytest.mark.parametrize("octets", [b"\x30\x00", b"-----BEGIN CERTIFICATE-----", b"\x30\x82"])
def test_what_is_no_certificate_is_refused(octets: bytes) -> None:
    with pytest.raises(InvalidSvid):
        X509Bundle.parse(EXAMPLE, octets)


# The digest that a join token pins.


def test_digest_does_not_depend_on_the_order(root: Credential, other: Credential) -> None:
    assert make_bundle(root, other).digest() == make_bundle(other, root).digest()


def test_root_more_or_less_changes_the_digest(root: Credential, other: Credential) -> None:
    both = make_bundle(root, other).digest()
    assert both not in (make_bundle(root).digest(), make_bundle(other).digest())
    assert make_bundle(root, root).digest() != make_bundle(root).digest()


def test_digest_is_not_that_of_the_octets_in_a_row(root: Credential, other: Credential) -> None:
    """Where one root ends and the next begins is part of what is pinned."""
    assert bundle_digest([root.der, other.der]) != bundle_digest([root.der + other.der])
    assert bundle_digest([b"ab", b"c"]) != bundle_digest([b"a", b"bc"])


# SPIFFE's own format.


def test_spiffe_format_of_an_ec_root(root: Credential) -> None:
    document = json.loads(make_bundle(root).spiffe_json(sequence=7, refresh_hint_seconds=60))
    assert (document["spiffe_sequence"], document["spiffe_refresh_hint"]) == (7, 60)
    (key,) = document["keys"]
    assert set(key) == {"use", "kty", "crv", "x", "y", "x5c"}, "no kid: X509-SVID 6.2"
    assert (key["use"], key["kty"], key["crv"]) == ("x509-svid", "EC", "P-256")
    assert isinstance(root.key, ec.EllipticCurvePrivateKey)
    numbers = root.key.public_key().public_numbers()
    assert octets(key["x"]) == numbers.x.to_bytes(32, "big")
    assert octets(key["y"]) == numbers.y.to_bytes(32, "big")
    (x5c,) = key["x5c"]
    assert base64.b64decode(x5c, validate=True) == root.der, "the standard alphabet, with padding"


@pytest.mark.parametrize(("curve", "name", "size"), [(ec.SECP384R1(), "P-384", 48), (ec.SECP521R1(), "P-521", 66)])
def test_coordinates_have_the_curves_size(curve: ec.EllipticCurve, name: str, size: int) -> None:
    (key,) = json.loads(make_bundle(make_root(key=ec.generate_private_key(curve))).spiffe_json(sequence=1))["keys"]
    assert key["crv"] == name
    assert len(octets(key["x"])) == len(octets(key["y"])) == size


def test_spiffe_format_of_an_rsa_root() -> None:
    private = rsa.generate_private_key(65537, 2048)
    (key,) = json.loads(make_bundle(make_root(key=private)).spiffe_json(sequence=1))["keys"]
    assert key["kty"] == "RSA"
    assert octets(key["n"]) == private.public_key().public_numbers().n.to_bytes(256, "big")
    assert key["e"] == "AQAB", "without leading zeros: RFC 7518 6.3.1"


def test_small_rsa_exponent_has_no_leading_zeros() -> None:
    (key,) = json.loads(make_bundle(make_root(key=rsa.generate_private_key(3, 2048))).spiffe_json(sequence=1))["keys"]
    assert key["e"] == "Aw"


def test_spiffe_format_of_an_ed25519_root() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    (key,) = json.loads(make_bundle(make_root(key=private)).spiffe_json(sequence=1))["keys"]
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    assert octets(key["x"]) == private.public_key().public_bytes_raw()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "brainpoolP256r1"),
        (lambda: ec.generate_private_key(ec.SECP192R1()), "secp192r1"),
        (lambda: rsa.generate_private_key(65537, 1024), "1024 bits"),
        (lambda: rsa.generate_private_key(65537, 2052), "2052 bits"),
    ],
)
def test_root_with_a_weak_or_odd_key_is_refused(make: Callable[[], Key], why: str) -> None:
    with pytest.raises(InvalidBundle, match=why):
        make_bundle(make_root(key=make()))


def test_root_with_a_name_constraint_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="cannot be read"):
        make_bundle(certificates.root_with_unreadable_name_constraint())


def test_one_key_for_each_root_in_their_order(root: Credential, other: Credential) -> None:
    keys = json.loads(make_bundle(root, other).spiffe_json(sequence=1))["keys"]
    assert [x509.load_der_x509_certificate(base64.b64decode(k["x5c"][0])) for k in keys] == [
        root.certificate,
        other.certificate,
    ]
