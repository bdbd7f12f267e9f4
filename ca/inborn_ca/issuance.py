"""Checked, then signed, by type: `prepare` makes a to-be-signed certificate that `issue` can spend once.

Theory of operation. `prepare` builds the certificate from the grant and the public key alone, signs it with a key
that everybody knows and nobody trusts, and lints what came out. Between the two calls the caller records it. `issue`
signs the same builder with the issuer's key and compares: what was signed is, octet for octet, what was linted and
recorded, and the signature is the issuer's.
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from inborn.errors import InternalError, RequestError, UnavailableError
from inborn.spiffeid import SpiffeId
from inborn.svid import key_sha256
from inborn_ca.lint import Wanted, lint_svid
from inborn_ca.profile import SERIAL_OCTETS, SVID_CONSTRAINTS, SVID_EXTENDED_KEY_USAGE, SVID_KEY_USAGE

__all__ = ["MAX_CSR_SIZE", "BadCsr", "IssuerExpired", "LeafKey", "Prepared", "issue", "prepare", "read_csr"]

MAX_CSR_SIZE = 16 * 1024  # octets: one for P-256 has 250, one for ML-DSA-87 with its signature 8 KiB

LeafKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_CSR_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

# Everybody can compute it, so what it signs is worth nothing: it only makes a certificate to lint out of a builder.
_LINT_KEY = ec.derive_private_key(0x696E626F726E, ec.SECP256R1())

_UNTRUSTED_BY_CONSTRUCTION = object()


class BadCsr(RequestError):
    """A certificate signing request cannot be used; the message names the rule."""


class IssuerExpired(UnavailableError):
    """The issuing authority's end is reached: nothing can be signed until another one is active."""


def read_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """Take the public key out of a PKCS#10 request, and make sure that the asker holds its private half.

    Enforced: size, DER, P-256 on the curve, a signature with SHA-2 by that very key (RFC 2986 4.2). Everything else
    that the request says (subject, names, extensions, CA:TRUE) is not looked at. Raises `BadCsr`.
    """
    if len(der) > MAX_CSR_SIZE:
        raise BadCsr(f"certificate request is larger than {MAX_CSR_SIZE} octets: {len(der)}")
    try:
        csr = x509.load_der_x509_csr(der)
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as e:
        raise BadCsr("certificate request is not PKCS#10 in DER") from e
    try:
        key = csr.public_key()
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
        key.verify(csr.signature, csr.tbs_certrequest_bytes, ec.ECDSA(algorithm))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as e:
        raise BadCsr("signature of the certificate request is not by its own key") from e
    return key


class Prepared:
    """A linted certificate that waits for its signature. Made by `prepare` alone, spent by `issue` once."""

    __slots__ = (
        "_issuer",
        "_pending",
        "_tbs",
        "authority",
        "key_hash",
        "not_after",
        "not_before",
        "serial",
        "spiffe_id",
    )

    def __init__(
        self,
        made_by: object,
        *,
        builder: x509.CertificateBuilder,
        linted: x509.Certificate,
        issuer: x509.Certificate,
        authority: bytes,
        wanted: Wanted,
    ) -> None:
        if made_by is not _UNTRUSTED_BY_CONSTRUCTION:
            raise InternalError("a prepared certificate is made by prepare() alone")
        self.spiffe_id = wanted.spiffe_id
        self.serial = wanted.serial
        self.key_hash = wanted.key_hash
        self.not_before = linted.not_valid_before_utc
        self.not_after = linted.not_valid_after_utc
        self.authority = authority
        self._issuer = issuer
        self._tbs = linted.tbs_certificate_bytes
        self._pending = [builder]

    def __repr__(self) -> str:
        return f"<Prepared {self.spiffe_id} {self.serial.hex()}>"


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
    possession. Raises `IssuerExpired`; `LintError` and `InternalError` are bugs of ours, and so is a life that ends
    within this very second.
    """
    if len(serial) != SERIAL_OCTETS:
        raise InternalError(f"serial has {len(serial)} octets, not {SERIAL_OCTETS}")
    start = max((now - backdate).replace(microsecond=0), issuer.not_valid_before_utc)
    end = min((now + ttl).replace(microsecond=0), issuer.not_valid_after_utc)
    if issuer.not_valid_after_utc <= now:
        raise IssuerExpired(f"issuing authority expired at {issuer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    if end <= now:
        raise InternalError(f"certificate of {spiffe_id} would live {ttl}, that is until {end:%Y-%m-%dT%H:%M:%SZ}")
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
        _UNTRUSTED_BY_CONSTRUCTION,
        builder=builder,
        linted=linted,
        issuer=issuer,
        authority=subject_key.digest,
        wanted=wanted,
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


def issue(prepared: Prepared, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign what was prepared with the issuer's key, and return it in DER.

    Whoever calls has recorded it durably. A prepared certificate can be spent once, also if signing fails. Raises
    `InternalError` for the second time, for another key than the issuer's, and if what was signed is not what was
    prepared.
    """
    try:
        builder = prepared._pending.pop()
    except IndexError:
        raise InternalError(f"prepared certificate {prepared.serial.hex()} has been spent") from None
    certificate = builder.sign(key, hashes.SHA256())
    der = certificate.public_bytes(serialization.Encoding.DER)
    signed = x509.load_der_x509_certificate(der)
    if not hmac.compare_digest(signed.tbs_certificate_bytes, prepared._tbs):
        raise InternalError(f"signed certificate {prepared.serial.hex()} is not the one that was prepared")
    issuer_key = prepared._issuer.public_key()
    if not isinstance(issuer_key, ec.EllipticCurvePublicKey):
        raise InternalError("issuing authority has a key that is not offered")
    try:
        issuer_key.verify(signed.signature, signed.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as e:
        raise InternalError(f"certificate {prepared.serial.hex()} was not signed by its issuer's key") from e
    return der


def _key_type(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    return type(key).__name__.removesuffix("PublicKey").removeprefix("_")
