"""Checked, then signed, by type: `prepare` makes a to-be-signed certificate that `issue` can spend once.

Theory of operation. `prepare` builds the certificate from the grant and the public key alone, signs it with a key
that everybody knows and nobody trusts, and lints what came out. Between the two calls the caller records it. `issue`
signs those octets, the very ones that were linted, with the issuer's key. The templates prepare the same octets
faster.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import NameOID

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import InternalError, RequestError, UnavailableError, moment
from inborn_ca.certificates._prepared import MADE_HERE as _MADE_HERE
from inborn_ca.certificates._prepared import IssuerKey, Prepared
from inborn_ca.certificates.der import ECDSA_WITH_SHA256, bit_string, sequence
from inborn_ca.certificates.lint import Wanted, lint_svid
from inborn_ca.certificates.profile import SERIAL_OCTETS, SVID_CONSTRAINTS, SVID_EXTENDED_KEY_USAGE, SVID_KEY_USAGE

__all__ = [
    "MAX_CSR_SIZE",
    "BadCsr",
    "IssuerExpired",
    "IssuerKey",
    "IssuerNotYetValid",
    "LeafKey",
    "Prepared",
    "ProvenKey",
    "issue",
    "prepare",
    "read_csr",
    "read_proven_key",
]

MAX_CSR_SIZE = 16 * 1024  # octets: one for P-256 has 250, one for ML-DSA-87 with its signature 8 KiB

LeafKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_ECDSA = ec.ECDSA(hashes.SHA256())

# Of a SubjectPublicKeyInfo on P-256 by its name, what comes before the two coordinates (RFC 5480 2.1.1, 2.2).
_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_P256_SPKI_SIZE = len(_P256_SPKI) + 64

_CSR_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

# Everybody can compute it, so what it signs is worth nothing: it only makes a certificate to lint out of a builder.
_LINT_KEY = ec.derive_private_key(0x696E626F726E, ec.SECP256R1())


class BadCsr(RequestError):
    """A certificate signing request cannot be used; the message names the rule."""


class IssuerExpired(UnavailableError):
    """The issuing authority's end is reached: nothing can be signed until another one is active."""


class IssuerNotYetValid(UnavailableError):
    """The issuing authority's life has not begun by this machine's clock, which has been set back."""


@dataclass(frozen=True, slots=True)
class ProvenKey:
    """A public key whose private half the requester holds, and its encoding if it was at hand."""

    key: ec.EllipticCurvePublicKey
    spki: bytes


def read_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of `read_proven_key`."""
    return read_proven_key(der).key


def read_proven_key(der: bytes) -> ProvenKey:
    """Take the public key out of a PKCS#10 request, and make sure that the requester holds its private half.

    Enforced: size, DER, P-256 on the curve, a signature with SHA-2 by that very key (RFC 2986 4.2). Everything else
    that the request says (subject, names, extensions, CA:TRUE) is not looked at. Raises `BadCsr`.
    """
    if len(der) > MAX_CSR_SIZE:
        raise BadCsr(f"certificate request is larger than {MAX_CSR_SIZE} octets: {len(der)}")
    try:
        csr = x509.load_der_x509_csr(der)
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as e:
        raise BadCsr("certificate request is not PKCS#10 in DER") from e
    spki = _p256_spki(der)
    try:
        key = load_der_public_key(spki) if spki else csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as e:
        raise BadCsr(
            "certificate request has a public key that cannot be used, or a point that is off the curve"
        ) from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadCsr(f"certificate request has a key of type {_key_type(key)}, P-256 is offered")
    try:
        algorithm = csr.signature_hash_algorithm
        if not isinstance(algorithm, _CSR_HASHES):
            raise BadCsr("certificate request is not signed with SHA-256, SHA-384 or SHA-512")
        ecdsa = _ECDSA if isinstance(algorithm, hashes.SHA256) else ec.ECDSA(algorithm)
        key.verify(csr.signature, csr.tbs_certrequest_bytes, ecdsa)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as e:
        raise BadCsr("signature of the certificate request is not by its own key") from e
    return ProvenKey(key, spki)


def _p256_spki(der: bytes) -> bytes:
    """The one P-256 key in a request, as its octets lie there, which is the one way to encode it; empty: not found.

    So it need not be encoded again (3 us less). It is no matter whether it lies where a request's key does: what
    these octets say is the key that the signature is held against, and the key that is certified.
    """
    at = der.find(_P256_SPKI)
    if at < 0 or der.find(_P256_SPKI, at + 1) >= 0:
        return b""
    spki = der[at : at + _P256_SPKI_SIZE]
    return spki if len(spki) == _P256_SPKI_SIZE else b""


def prepare(
    *,
    spiffe_id: SpiffeId,
    public_key: LeafKey,
    serial: bytes,
    issuer: x509.Certificate,
    ttl: dt.timedelta,
    now: dt.datetime,
    backdate: dt.timedelta,
    dns_names: Sequence[str] = (),
    common_name: str = "",
) -> Prepared:
    """Build and lint the certificate that says exactly this, and never lives past `issuer`.

    The DNS alias of the ID is added here. Not checked: who asks, whether the ID was granted, blocks, proof of
    possession. Raises `IssuerExpired` and `IssuerNotYetValid`; `LintError` and `InternalError` are bugs of ours, and so
    is a life that ends within this very second.
    """
    if len(serial) != SERIAL_OCTETS:
        raise InternalError(f"serial has {len(serial)} octets, not {SERIAL_OCTETS}")
    start = max((now - backdate).replace(microsecond=0), issuer.not_valid_before_utc)
    end = min((now + ttl).replace(microsecond=0), issuer.not_valid_after_utc)
    if issuer.not_valid_after_utc <= now:
        raise IssuerExpired(f"issuing authority expired at {moment(issuer.not_valid_after_utc)}, now {moment(now)}")
    if end <= start:
        raise IssuerNotYetValid(
            f"issuing authority is valid from {moment(issuer.not_valid_before_utc)}, now {moment(now)}",
            hint="is this machine's clock right?",
        )
    if end <= now:
        raise InternalError(f"certificate of {spiffe_id} would live {ttl}, that is until {moment(end)}")
    subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    wanted = Wanted(
        spiffe_id=spiffe_id,
        dns_names=tuple(dns_names),
        common_name=common_name,
        key_hash=key_sha256(public_key),
        serial=serial,
        not_after=now + ttl,
    )
    try:
        builder = _builder(wanted, public_key, issuer, subject_key, start, end)
        linted = builder.sign(_LINT_KEY, hashes.SHA256())
    except (ValueError, TypeError) as e:
        raise InternalError(f"certificate of {spiffe_id} cannot be built: {e}") from e
    lint_svid(linted, issuer=issuer, wanted=wanted)
    return Prepared(
        _MADE_HERE,
        tbs=linted.tbs_certificate_bytes,
        spiffe_id=spiffe_id,
        serial=serial,
        key_hash=wanted.key_hash,
        authority=subject_key.digest,
        issuer_key=key_sha256(issuer.public_key()),
        not_before=linted.not_valid_before_utc,
        not_after=linted.not_valid_after_utc,
    )


def _builder(
    wanted: Wanted,
    public_key: LeafKey,
    issuer: x509.Certificate,
    subject_key: x509.SubjectKeyIdentifier,
    start: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)] if wanted.common_name else []
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(wanted.spiffe_id))]
    names += [x509.DNSName(name) for name in (wanted.spiffe_id.alias, *wanted.dns_names)]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(int.from_bytes(wanted.serial, "big"))
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(SVID_CONSTRAINTS, critical=True)
        .add_extension(SVID_KEY_USAGE, critical=True)
        .add_extension(SVID_EXTENDED_KEY_USAGE, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), critical=False)
    )


def issue(prepared: Prepared, key: IssuerKey) -> bytes:
    """Sign what was prepared with its issuer's key, and return it in DER.

    Whoever calls has recorded it durably. A prepared certificate can be spent once, also if signing fails. Raises
    `InternalError` for the second time, for a key that is not the named issuer's, and if what came out is no
    certificate or has another serial than was recorded.
    """
    tbs, signature = prepared.spend(key)
    der = sequence(tbs, ECDSA_WITH_SHA256, bit_string(signature))
    # Those very octets were signed, so what is left to look at is that they are a certificate, and the recorded one.
    if x509.load_der_x509_certificate(der).serial_number != int.from_bytes(prepared.serial, "big"):
        raise InternalError(f"signed certificate {prepared.serial.hex()} is not the one that was prepared")
    return der


def _key_type(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    return type(key).__name__.removesuffix("PublicKey").removeprefix("_")
