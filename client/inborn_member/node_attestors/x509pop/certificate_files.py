"""Where certificate, key and the CA's bundle lie on this machine. They are read anew each time that they are needed:
whoever issues the certificate replaces it in its place.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from inborn._internal.enrollment.x509pop import MAX_CHAIN_LENGTH, ProvingKey, check_key
from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId, SpiffeId, TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_bundle import MAX_ROOTS, X509Bundle
from inborn.errors import RequestError
from inborn_member.node_attestors.x509pop.certificate_evidence import CertificateEvidence

__all__ = ["BundlePin", "CertificateFiles", "UnusableFile"]

_MAX_FILE = 128 * 1024  # bytes: a bundle of sixteen certificates of 6 KiB, with comments
_DIGEST = re.compile(r"[0-9a-f]{64}")


class UnusableFile(RequestError):
    """A file cannot be read, is open to others, or does not hold what it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePin:
    """Whom to trust: a trust domain and the digest of its whole bundle."""

    trust_domain: TrustDomain
    digest: bytes

    @classmethod
    def parse(cls, digest: str, trust_domain: TrustDomain) -> BundlePin:
        """`digest` is what `inborn bundle show --format pin` prints. Raises `RequestError`."""
        if not _DIGEST.fullmatch(digest):
            raise RequestError(
                f"pin is not of 64 hexadecimal digits: {digest[:80]!a}", hint="inborn bundle show --format pin"
            )
        return cls(trust_domain=trust_domain, digest=bytes.fromhex(digest))

    @classmethod
    def of_file(cls, path: Path) -> BundlePin:
        """Of a file with the roots, PEM; each names the trust domain. Raises `UnusableFile`."""
        roots = _certificates(path, limit=MAX_ROOTS)
        names = {_trust_domain(root, path) for root in roots}
        if len(names) != 1:
            raise UnusableFile(f"roots in {path} are of several trust domains: {', '.join(sorted(map(str, names)))}")
        (trust_domain,) = names
        bundle = X509Bundle(trust_domain=trust_domain, roots=roots)
        return cls(trust_domain=trust_domain, digest=bundle.digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Evidence of the kind x509pop on disk."""

    certificate: Path
    """PEM: the node's own certificate first, then each one's issuer."""
    key: Path
    """PEM, not encrypted, readable by its owner alone."""
    bundle: Path | None = None
    pin: BundlePin | None = None
    """One of the two says whom to trust."""

    def read(self) -> CertificateEvidence:
        """Raises `UnusableFile`, `UnusableKey`, `InvalidBundle`. Not checked: what the CA will say of it."""
        if self.bundle is not None:
            pin = BundlePin.of_file(self.bundle)
        elif self.pin is not None:
            pin = self.pin
        else:
            raise RequestError("nothing says which CA to trust", hint="--bundle FILE, or --pin DIGEST")
        chain = _certificates(self.certificate, limit=MAX_CHAIN_LENGTH)
        private_key = _private_key(self.key)
        if _spki(private_key.public_key()) != _spki(check_key(chain[0].public_key())):
            raise UnusableFile(f"key in {self.key} is not that of the first certificate in {self.certificate}")
        return CertificateEvidence(
            chain=chain, private_key=private_key, trust_domain=pin.trust_domain, bundle_digest=pin.digest
        )


def _spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificates(path: Path, *, limit: int) -> tuple[x509.Certificate, ...]:
    octets, _ = _read(path)
    try:
        certificates = tuple(x509.load_pem_x509_certificates(octets))
    except ValueError as e:
        raise UnusableFile(f"{path} does not hold certificates in PEM") from e
    if len(certificates) > limit:
        raise UnusableFile(f"{path} holds {len(certificates)} certificates, at most {limit} are taken")
    return certificates


def _private_key(path: Path) -> ProvingKey:
    octets, found = _read(path)
    if found.st_mode & 0o077:
        raise UnusableFile(
            f"{path} is open to others than its owner: mode {stat.S_IMODE(found.st_mode):04o}",
            hint=f"chmod 600 {path}",
        )
    if found.st_uid not in (0, os.geteuid()):
        raise UnusableFile(f"{path} belongs to uid {found.st_uid}, neither to root nor to this program's user")
    try:
        key = load_pem_private_key(octets, password=None)
    except TypeError as e:
        raise UnusableFile(f"key in {path} is encrypted", hint="there is nobody to ask for a passphrase") from e
    except (ValueError, UnsupportedAlgorithm) as e:
        raise UnusableFile(f"{path} does not hold a private key in PEM") from e
    check_key(key.public_key())
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UnusableFile(f"key in {path} is of a type that cannot sign")
    return key


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    """The bytes, and what is true of the very file that they came from."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            octets = file.read(_MAX_FILE + 1)
    except OSError as e:
        raise UnusableFile(f"{path} cannot be read: {e.strerror}") from e
    if len(octets) > _MAX_FILE:
        raise UnusableFile(f"{path} is larger than {_MAX_FILE} bytes")
    return octets, found


def _trust_domain(root: x509.Certificate, path: Path) -> TrustDomain:
    """A root of ours names the trust domain's ID and nothing else (X509-SVID 4.1)."""
    try:
        names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        spiffe_id: SpiffeId = parse_spiffe_id(uri)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError, InvalidSpiffeId) as e:
        raise UnusableFile(
            f"{path} holds a certificate that names no trust domain", hint="inborn bundle show > roots.pem makes it"
        ) from e
    return spiffe_id.trust_domain
