"""The parts of a certificate that somebody else made: its extensions, and its key. Used wherever one is judged.

What cannot be read is one kind of error, whatever the parser below says: cryptography raises `TypeError` for a
malformed iPAddress in a name constraint and `ValueError` for most else.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from inborn.errors import RequestError

__all__ = ["InvalidSvid", "check_critical_constraints", "check_key", "key_identifiers", "read_extensions"]

_UNREADABLE = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)

_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})  # the ones of TLS 1.3 (RFC 8446 4.2.3)
_RSA_BITS = range(2048, 8193, 8)  # CA/B BR 6.1.5: whole bytes from 2048; above 8192 a check takes milliseconds


class InvalidSvid(RequestError):
    """A certificate is not an X509-SVID, or not one of its issuers'; the message names the rule."""


def read_extensions(certificate: x509.Certificate) -> x509.Extensions:
    """All extensions of a certificate, parsed. Raises `InvalidSvid`. Not checked: what they say."""
    try:
        return certificate.extensions
    except _UNREADABLE as e:
        raise InvalidSvid("certificate has an extension that cannot be read") from e


def check_key(certificate: x509.Certificate) -> None:
    """Refuse a key that is too weak, or of a type that no TLS peer presents (X509-SVID leaves it open, we do not).

    Taken: P-256, P-384, P-521, Ed25519, Ed448, RSA of 2048 to 8192 bits in whole bytes. Raises `InvalidSvid`.
    """
    try:
        key = certificate.public_key()
    except _UNREADABLE as e:
        raise InvalidSvid("certificate has a key that cannot be read") from e
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS:
            return
        case ec.EllipticCurvePublicKey():
            raise InvalidSvid(f"key is on curve {key.curve.name}, which is not one of P-256, P-384, P-521")
        case rsa.RSAPublicKey():
            raise InvalidSvid(f"RSA key has {key.key_size} bits, must have 2048 to 8192 in whole bytes")
    raise InvalidSvid(f"key is of type {type(key).__name__}, which is not taken")


def key_identifiers(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """Subject and authority key identifier, each empty where it is absent (RFC 5280 4.2.1.1, 4.2.1.2).

    Raises `InvalidSvid` where they cannot be read.
    """
    extensions = read_extensions(certificate)
    try:
        subject = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        subject = b""
    try:
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    except x509.ExtensionNotFound:
        authority = b""
    return subject, authority


def check_critical_constraints(certificate: x509.Certificate) -> None:
    """Constraints of an issuer that somebody may pass over are refused (RFC 5280 4.2.1.10, 4.2.1.11: MUST be critical).

    Raises `InvalidSvid`.
    """
    for extension in read_extensions(certificate):
        if isinstance(extension.value, x509.NameConstraints | x509.PolicyConstraints) and not extension.critical:
            raise InvalidSvid(f"issuing certificate has {extension.oid.dotted_string}, and it is not critical")
