"""A CA that an organisation has already, and what its machines got from it. Nothing of ours is in it."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inborn._internal.spiffe.x509_svid import key_sha256
from inborn_proto import ca_pb2
from tests.rigs.front_rig import make_csr

LIFE = dt.timedelta(days=90)
_serials = itertools.count(0x1000)

_NO_USAGE = dict.fromkeys(
    (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    ),
    False,
)  # fmt: skip


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**(_NO_USAGE | dict.fromkeys(names, True)))


LEAF_EXTENSIONS: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (usage("digital_signature"), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
)


def ca_extensions(path_length: int | None = None) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (usage("key_cert_sign", "crl_sign"), True),
    )


@dataclass(frozen=True, kw_only=True)
class MachineCertificate:
    """A certificate, its key, and those above it. A CA of the organisation is one, too."""

    certificate: x509.Certificate
    key: Any
    above: MachineCertificate | None = None

    @classmethod
    def root(
        cls, now: dt.datetime, name: str = "Machines Root", key: Any = None, extensions: Any = None
    ) -> MachineCertificate:
        key = key or ec.generate_private_key(ec.SECP384R1())
        extensions = ca_extensions() if extensions is None else extensions
        return cls(certificate=_sign(name, key, None, now, extensions), key=key)

    def issuing(
        self, now: dt.datetime, name: str = "Machines CA 1", extensions: Any = None, key: Any = None
    ) -> MachineCertificate:
        key = key or ec.generate_private_key(ec.SECP256R1())
        extensions = ca_extensions(0) if extensions is None else extensions
        return MachineCertificate(certificate=_sign(name, key, self, now, extensions), key=key, above=self)

    def leaf(
        self,
        now: dt.datetime,
        name: str | Sequence[str] = "web1",
        key: Any = None,
        extensions: Any = LEAF_EXTENSIONS,
        uris: Sequence[str] = (),
        serial: int = 0,
        life: dt.timedelta = LIFE,
    ) -> MachineCertificate:
        key = key or ec.generate_private_key(ec.SECP256R1())
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            extensions = (*extensions, (names, False))
        certificate = _sign(name, key, self, now, extensions, serial=serial, life=life)
        return MachineCertificate(certificate=certificate, key=key, above=self)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def chain(self) -> list[bytes]:
        """Without the root."""
        return [self.der, *(self.above.chain if self.above is not None and self.above.above is not None else [])]

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 -- a name, as SPIRE has it


def _sign(
    name: str | Sequence[str],
    key: Any,
    issuer: MachineCertificate | None,
    now: dt.datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    *,
    serial: int = 0,
    life: dt.timedelta = LIFE,
) -> x509.Certificate:
    subject = _name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(serial or next(_serials))
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + life)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(issuer.key if issuer is not None else key, hashes.SHA256())


def _name(names: str | Sequence[str]) -> x509.Name:
    names = [names] if isinstance(names, str) else names
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False) for name in names])


# -- an enrollment, put together by hand, so that each part of it can be wrong -----------------------------------------


def challenge_request(csr_key: ec.EllipticCurvePrivateKey, kind: str = "x509pop") -> ca_pb2.ChallengeRequest:
    return ca_pb2.ChallengeRequest(kind=kind, key_hash=key_sha256(csr_key.public_key()))


def x509pop_body(
    machine: MachineCertificate, csr_key: ec.EllipticCurvePrivateKey, challenge: bytes, **changed: Any
) -> ca_pb2.EnrollBody:
    evidence = ca_pb2.X509PopEvidence(
        chain=changed.pop("chain", machine.chain), nonce=changed.pop("nonce", os.urandom(32))
    )
    fields = {
        "trust_domain": "example.org",
        "csr": make_csr(csr_key),
        "kind": "x509pop",
        "evidence": evidence.SerializeToString(),
        "challenge": challenge,
    }
    return ca_pb2.EnrollBody(**(fields | changed))


def x509pop_request(
    machine: MachineCertificate, csr_key: ec.EllipticCurvePrivateKey, challenge: bytes, **changed: Any
) -> ca_pb2.EnrollRequest:
    return proven(machine.key, x509pop_body(machine, csr_key, challenge, **changed))


def proven(key: Any, body: ca_pb2.EnrollBody) -> ca_pb2.EnrollRequest:
    octets = body.SerializeToString()
    return ca_pb2.EnrollRequest(body=octets, proof=sign(key, octets))


def sign(key: Any, octets: bytes, context: bytes = b"inborn enroll x509pop v2\0") -> bytes:
    """The proof, made as the documentation says."""
    said = context + octets
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return key.sign(said, pss, hashes.SHA256())
    digest = hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()
    return bytes(key.sign(said, ec.ECDSA(digest)))
