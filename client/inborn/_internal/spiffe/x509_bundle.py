"""Bundles: the roots that a trust domain's certificates are verified against (SPIFFE Trust Domain and Bundle 4)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from inborn._internal.spiffe.certificate_parts import InvalidSvid, check_key, read_extensions
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_svid import load_certificate, split_der

__all__ = ["MAX_ROOTS", "InvalidBundle", "X509Bundle", "bundle_digest"]

MAX_ROOTS = 16  # a trust domain has one, two while it is replaced; more is an attack on our memory


class InvalidBundle(InvalidSvid):
    """A bundle cannot be used; the message names the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class X509Bundle:
    """The X.509 authorities of one trust domain. Never merged with another domain's (SPIFFE Federation 5.2)."""

    trust_domain: TrustDomain
    roots: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if not self.roots:
            raise InvalidBundle(f"bundle of {self.trust_domain} is empty")
        if len(self.roots) > MAX_ROOTS:
            raise InvalidBundle(f"bundle of {self.trust_domain} has more than {MAX_ROOTS} roots: {len(self.roots)}")
        for root in self.roots:
            _check_root(root)

    @classmethod
    def parse(cls, trust_domain: TrustDomain, data: bytes | Iterable[bytes]) -> Self:
        """Take concatenated DER or a list of DER certificates. Raises `InvalidBundle`, `InvalidSvid`."""
        one_more = MAX_ROOTS + 1  # enough to be refused
        parts = split_der(data, limit=one_more) if isinstance(data, bytes) else list(islice(data, one_more))
        return cls(trust_domain=trust_domain, roots=tuple(load_certificate(part) for part in parts))

    def ders(self) -> list[bytes]:
        return [root.public_bytes(serialization.Encoding.DER) for root in self.roots]

    def der(self) -> bytes:
        """Concatenated DER."""
        return b"".join(self.ders())

    def pem(self) -> bytes:
        return b"".join(root.public_bytes(serialization.Encoding.PEM) for root in self.roots)

    def digest(self) -> bytes:
        """What a join token pins: see `bundle_digest`."""
        return bundle_digest(self.ders())

    def spiffe_json(self, *, sequence: int, refresh_hint_seconds: int = 300) -> str:
        """The bundle in SPIFFE's own format, a JWK Set (SPIFFE Trust Domain and Bundle 4, X509-SVID 6.2).

        Raises `InvalidBundle` for a root with a key that no JWK of it could name.
        """
        keys = [_jwk(root) for root in self.roots]
        document = {"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": refresh_hint_seconds}
        return json.dumps(document, indent=2)


def bundle_digest(roots: Iterable[bytes]) -> bytes:
    """SHA-256 over the whole bundle: order does not matter, a root more or less does."""
    digests = sorted(hashlib.sha256(root).digest() for root in roots)
    return hashlib.sha256(b"inborn bundle v1\0" + b"".join(digests)).digest()


def _check_root(root: x509.Certificate) -> None:
    try:
        is_ca = read_extensions(root).get_extension_for_class(x509.BasicConstraints).value.ca
        check_key(root)
    except x509.ExtensionNotFound as e:
        raise InvalidBundle("bundle has a certificate without basic constraints") from e
    except InvalidSvid as e:
        raise InvalidBundle(f"bundle has a root that cannot be used: {e.message}") from e
    if not is_ca:
        raise InvalidBundle("bundle has a certificate that is no CA's")


_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}  # RFC 7518 6.2.1.1


def _jwk(root: x509.Certificate) -> dict[str, object]:
    x5c = base64.b64encode(root.public_bytes(serialization.Encoding.DER)).decode()
    return {"use": "x509-svid", **_key_parameters(root), "x5c": [x5c]}


def _key_parameters(root: x509.Certificate) -> dict[str, object]:
    try:
        key = root.public_key()
    except (ValueError, UnsupportedAlgorithm) as e:
        raise InvalidBundle("bundle has a root with a key that cannot be read") from e
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise InvalidBundle(f"bundle has a root on a curve that no JWK names: {key.curve.name}")
        numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
        x, y = numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")
        return {"kty": "EC", "crv": _CURVES[key.curve.name], "x": _b64url(x), "y": _b64url(y)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64url(key.public_bytes_raw())}  # RFC 8037 2
    if isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        return {"kty": "RSA", "n": _b64url(_shortest(rsa_numbers.n)), "e": _b64url(_shortest(rsa_numbers.e))}
    raise InvalidBundle(f"bundle has a root with a key of type {type(key).__name__}")


def _shortest(number: int) -> bytes:
    """Big-endian, without leading zeros (RFC 7518 2, Base64urlUInt)."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _b64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
