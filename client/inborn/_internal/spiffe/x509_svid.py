"""X509-SVIDs: what a certificate says (`CertificateFacts`), and a chain with its key (`X509Svid`).

`read_certificate` is the one place where a certificate becomes facts that decisions are made on. It enforces what the
X509-SVID standard asks of a leaf's shape; it does not look at signatures, at time or at revocation (see `verify`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from inborn._internal.spiffe.certificate_parts import InvalidSvid, check_key, read_extensions
from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId, SpiffeId, parse_spiffe_id

__all__ = [
    "MAX_CERTIFICATE_SIZE",
    "MAX_CHAIN_LENGTH",
    "CertificateFacts",
    "InvalidSvid",
    "PrivateKey",
    "X509Svid",
    "key_sha256",
    "load_certificate",
    "parse_chain",
    "read_certificate",
    "serial_octets",
    "split_der",
]

MAX_CERTIFICATE_SIZE = 16 * 1024  # octets: ours have 600; an ML-DSA one with its chain has 8 KiB
MAX_CHAIN_LENGTH = 4  # leaf, issuing authority, and two cross-signed ones
_MAX_SERIAL_OCTETS = 20  # RFC 5280 4.1.2.2

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What decisions are made on: whose certificate it is, which one, from whom and for how long."""

    spiffe_id: SpiffeId
    serial: bytes
    """Big-endian, without leading zeros."""
    key_hash: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    authority: bytes
    """Key identifier of the issuing authority (authorityKeyIdentifier)."""
    not_before: dt.datetime
    not_after: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class X509Svid:
    """An identity that can be presented: chain (leaf first, never the root), its private key and a hint."""

    spiffe_id: SpiffeId
    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKey = field(repr=False)
    hint: str = ""
    issued_at: dt.datetime | None = None
    """When it was fetched, by this process's clock: renewal is counted from here, not from notBefore."""

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def facts(self) -> CertificateFacts:
        return read_certificate(self.leaf)

    @classmethod
    def parse(cls, chain: bytes, key: bytes, *, hint: str = "", issued_at: dt.datetime | None = None) -> Self:
        """Take concatenated DER (leaf first) and a PKCS#8 DER key.

        Raises `InvalidSvid` if the leaf is no X509-SVID or the key is not the leaf's. Not checked: signatures, time,
        trust.
        """
        certificates = parse_chain(chain)
        try:
            private_key = serialization.load_der_private_key(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise InvalidSvid("private key is not PKCS#8 DER") from e
        if not isinstance(private_key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise InvalidSvid("private key is neither EC nor Ed25519")
        facts = read_certificate(certificates[0])
        if key_sha256(private_key.public_key()) != facts.key_hash:
            raise InvalidSvid(f"private key is not that of the certificate for {facts.spiffe_id}")
        return cls(
            spiffe_id=facts.spiffe_id, chain=certificates, private_key=private_key, hint=hint, issued_at=issued_at
        )

    def chain_der(self) -> bytes:
        """Concatenated DER, leaf first."""
        return b"".join(c.public_bytes(serialization.Encoding.DER) for c in self.chain)

    def chain_pem(self) -> bytes:
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.chain)

    def key_der(self) -> bytes:
        """PKCS#8 DER, not encrypted."""
        return self._key_bytes(serialization.Encoding.DER)

    def key_pem(self) -> bytes:
        """PKCS#8 PEM, not encrypted."""
        return self._key_bytes(serialization.Encoding.PEM)

    def _key_bytes(self, encoding: serialization.Encoding) -> bytes:
        return self.private_key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def serial_octets(serial: int) -> bytes:
    """A serial number as big-endian octets without leading zeros.

    Raises `InvalidSvid` if it is not positive or has more than 20 octets (RFC 5280 4.1.2.2).
    """
    if serial <= 0:
        raise InvalidSvid(f"serial is not positive: {serial}")
    octets = (serial.bit_length() + 7) // 8
    if octets > _MAX_SERIAL_OCTETS:
        raise InvalidSvid(f"serial is longer than {_MAX_SERIAL_OCTETS} octets: {octets}")
    return serial.to_bytes(octets, "big")


def key_sha256(key: object) -> bytes:
    """SHA-256 of a public key's SubjectPublicKeyInfo, DER."""
    spki: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def split_der(data: bytes, *, limit: int = 64) -> list[bytes]:
    """Cut concatenated DER structures (SEQUENCEs) apart. Raises `InvalidSvid` for anything else or more than `limit`.

    Lengths must have the shortest form, as DER asks. Not checked: what is inside.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        if len(parts) == limit:
            raise InvalidSvid(f"more than {limit} certificates in a row")
        if data[at] != 0x30 or at + 2 > len(data):
            raise InvalidSvid(f"no DER sequence at byte {at}")
        length, header = data[at + 1], 2
        if length & 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 3 or at + 2 + octets > len(data):
                raise InvalidSvid(f"bad DER length at byte {at}")
            length, header = int.from_bytes(data[at + 2 : at + 2 + octets], "big"), 2 + octets
            if length < 0x80 or data[at + 2] == 0:
                raise InvalidSvid(f"bad DER length at byte {at}")
        end = at + header + length
        if end > len(data):
            raise InvalidSvid(f"DER sequence at byte {at} is cut off")
        parts.append(data[at:end])
        at = end
    return parts


def load_certificate(der: bytes) -> x509.Certificate:
    """Load one DER certificate. Raises `InvalidSvid` if it is too large or not a certificate."""
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise InvalidSvid(f"certificate is larger than {MAX_CERTIFICATE_SIZE} octets: {len(der)}")
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as e:
        raise InvalidSvid("not a DER certificate") from e


def parse_chain(data: bytes | Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Load a chain from concatenated DER or from a list of DER certificates, leaf first."""
    parts = split_der(data, limit=MAX_CHAIN_LENGTH) if isinstance(data, bytes) else list(data)
    if not parts:
        raise InvalidSvid("chain is empty")
    if len(parts) > MAX_CHAIN_LENGTH:
        raise InvalidSvid(f"chain is longer than {MAX_CHAIN_LENGTH} certificates: {len(parts)}")
    return tuple(load_certificate(part) for part in parts)


def read_certificate(leaf: x509.Certificate) -> CertificateFacts:
    """Read the facts of an X509-SVID leaf, and refuse what is none (X509-SVID 2, 4, 5.2).

    Enforced: exactly one URI SAN, a SPIFFE ID with a path; not a CA; key usage present, critical, with
    digitalSignature and without keyCertSign and cRLSign; extended key usage, where there is one, has both serverAuth
    and clientAuth; an authority key identifier; a key that `check_key` takes. Not checked: signatures, time, trust,
    revocation.
    """
    extensions = read_extensions(leaf)
    try:
        spiffe_id = _spiffe_id(extensions)
        _check_constraints(extensions)
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as e:
        raise InvalidSvid(f"certificate has no extension {e.oid.dotted_string}") from e
    check_key(leaf)
    key_hash = key_sha256(leaf.public_key())
    if not authority:
        raise InvalidSvid("certificate's authority key identifier has no key identifier")
    return CertificateFacts(
        spiffe_id=spiffe_id,
        serial=serial_octets(leaf.serial_number),
        key_hash=key_hash,
        authority=authority,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def _spiffe_id(extensions: x509.Extensions) -> SpiffeId:
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise InvalidSvid(f"certificate must have exactly one URI name, has {len(uris)}")
    try:
        spiffe_id = parse_spiffe_id(uris[0])
    except InvalidSpiffeId as e:
        raise InvalidSvid(f"certificate's URI name is no SPIFFE ID: {e.message}") from e
    if not spiffe_id.path:
        raise InvalidSvid(f"certificate's SPIFFE ID has no path: {spiffe_id}")
    return spiffe_id


def _check_constraints(extensions: x509.Extensions) -> None:
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise InvalidSvid("certificate of a CA cannot be used as an SVID")
    except x509.ExtensionNotFound:
        pass  # absent means: not a CA (RFC 5280 4.2.1.9)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    if not usage.critical:
        raise InvalidSvid("key usage is not critical")
    if not usage.value.digital_signature:
        raise InvalidSvid("key usage lacks digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise InvalidSvid("key usage of an SVID has keyCertSign or cRLSign")
    try:
        extended = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    wanted = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if not wanted <= extended:
        raise InvalidSvid("extended key usage lacks serverAuth or clientAuth")
