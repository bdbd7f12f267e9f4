"""The path from a node's certificate to a CA that the admin has named (RFC 5280 6.1), as a straight walk (pure).

The joiner sends its chain in order, so nothing is searched for: each certificate is issued by one of the admin's CAs,
and the walk ends there, or by the next one of the chain.

Stricter than RFC 5280 where software differs or where nobody needs the rest: a leaf must say that it may sign; a CA
with name constraints is refused, because they are not interpreted here; an extended key usage of a CA counts for what
is below it; signatures with SHA-1 are refused; a CA of the admin's must be valid itself.

Not checked: whether the other CA has revoked any of it. Nothing here fetches CRLs or asks OCSP: the signer has no
network.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from inborn._internal.enrollment.x509pop import UnusableKey, check_rsa
from inborn.errors import UnauthenticatedError, moment

__all__ = ["UntrustedNode", "check_authority", "verify_path"]

T = TypeVar("T", bound=x509.ExtensionType)

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,  # every policy is taken (6.1.1 c, user-initial-policy-set is any-policy)
    }
)
_CLIENT_USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
_SIGNATURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class UntrustedNode(UnauthenticatedError):
    """A node's certificate does not lead to a CA that the admin has named, or may not be used for this."""


def verify_path(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], *, now: dt.datetime
) -> tuple[x509.Certificate, ...]:
    """The leaf, its issuers, and the admin's CA at the end. Raises `UntrustedNode`, which names the rule."""
    _check_leaf(chain[0], now)
    path = [chain[0]]
    for below, issuer in zip(chain, [*chain[1:], None], strict=True):
        anchor = next((a for a in authorities if _has_issued(a, below)), None)
        above = anchor or issuer
        if issuer is not None and anchor is None:
            _check_key(issuer)  # before a signature is checked with it: a stranger has chosen it
        if above is None or not (anchor or _has_issued(above, below)):
            raise UntrustedNode(
                f"certificate {_name(below)} was issued by {_shown(below.issuer)}, which is none of the admin's CAs, "
                "and not the next one of the chain",
                hint="the chain goes from the node's certificate upwards, each one followed by its issuer",
            )
        check_authority(above, now=now, below=len(path) - 1)
        path.append(above)
        if anchor is not None:
            return tuple(path)
    raise UntrustedNode("chain does not end")


def check_authority(certificate: x509.Certificate, *, now: dt.datetime, below: int = 0) -> None:
    """Whether this CA may have so many CAs below it on a path (RFC 5280 6.1.4 k to o). Raises `UntrustedNode`."""
    extensions = _extensions(certificate)
    _check_validity(certificate, now)
    _check_key(certificate)
    constraints = _find(extensions, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise UntrustedNode(f"certificate {_name(certificate)} is no CA's (RFC 5280 6.1.4 k)")
    if constraints.path_length is not None and below > constraints.path_length:
        raise UntrustedNode(
            f"CA {_name(certificate)} allows {constraints.path_length} CAs below it, there are {below} "
            "(RFC 5280 6.1.4 m)"
        )
    usage = _find(extensions, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise UntrustedNode(f"CA {_name(certificate)} may not sign certificates (RFC 5280 6.1.4 n)")
    if _find(extensions, x509.NameConstraints) is not None:
        raise UntrustedNode(f"CA {_name(certificate)} has name constraints, which are not interpreted here")
    _check_usage(extensions, certificate)


def _check_leaf(leaf: x509.Certificate, now: dt.datetime) -> None:
    extensions = _extensions(leaf)
    _check_validity(leaf, now)
    constraints = _find(extensions, x509.BasicConstraints)
    usage = _find(extensions, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        raise UntrustedNode(f"certificate {_name(leaf)} is a CA's and no node's")
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise UntrustedNode(
            f"certificate {_name(leaf)} must have the key usage digitalSignature, and neither keyCertSign nor cRLSign "
            "(RFC 5280 4.2.1.3)"
        )
    _check_usage(extensions, leaf)


def _check_usage(extensions: x509.Extensions, certificate: x509.Certificate) -> None:
    usages = _find(extensions, x509.ExtendedKeyUsage)
    if usages is not None and not any(usage in usages for usage in _CLIENT_USAGES):
        raise UntrustedNode(f"certificate {_name(certificate)} is not for client authentication (RFC 5280 4.2.1.12)")


def _check_validity(certificate: x509.Certificate, now: dt.datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise UntrustedNode(f"certificate {_name(certificate)} expired at {moment(end)}, now {moment(now)}")
    if now < begin:
        raise UntrustedNode(f"certificate {_name(certificate)} is valid from {moment(begin)}, now {moment(now)}")


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    if certificate.version is not x509.Version.v3:
        raise UntrustedNode(f"certificate {_name(certificate)} is not of version 3")
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as e:
        raise UntrustedNode(f"certificate {_name(certificate)} has an extension that cannot be read") from e
    for extension in extensions:
        is_known = extension.oid in _UNDERSTOOD or extension.oid == ExtensionOID.NAME_CONSTRAINTS
        if extension.critical and not is_known:
            raise UntrustedNode(
                f"certificate {_name(certificate)} has the critical extension {extension.oid.dotted_string}, which is "
                "not understood (RFC 5280 6.1.4 o)"
            )
    return extensions


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """By name and by signature (RFC 5280 6.1.3 a). A signature with a weak digest is none."""
    if issuer.subject != certificate.issuer or not issuer.subject:
        return False
    try:
        algorithm = certificate.signature_hash_algorithm
        if algorithm is not None and not isinstance(algorithm, _SIGNATURE_HASHES):  # None: Ed25519
            return False
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _check_key(certificate: x509.Certificate) -> None:
    try:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            check_rsa(key)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise UntrustedNode(f"certificate {_name(certificate)} has a key that cannot be read") from e
    except UnusableKey as e:
        raise UntrustedNode(f"certificate {_name(certificate)} cannot be a CA's: {e.message}") from e
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise UntrustedNode(f"certificate {_name(certificate)} has a key of a type that is not taken")


def _find(extensions: x509.Extensions, kind: type[T]) -> T | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return _shown(certificate.subject)


def _shown(name: x509.Name) -> str:
    """For messages: it is a stranger's text."""
    return ascii(name.rfc4514_string())[:100]
