"""A certificate with its chain and key as evidence."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.enrollment.x509pop import KIND, NONCE_SIZE, ProvingKey, prove
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn_proto import ca_pb2

__all__ = ["CertificateEvidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEvidence:
    """Shows the chain and a nonce, and signs with the leaf's key."""

    chain: tuple[x509.Certificate, ...]
    """The leaf, then each certificate's issuer, without the root."""
    private_key: ProvingKey = field(repr=False)
    trust_domain: TrustDomain
    bundle_digest: bytes

    @property
    def kind(self) -> str:
        return KIND

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.chain[0].public_bytes(Encoding.DER)).digest()[:16]

    @property
    def advice(self) -> str:
        return "ask for the roots as they are now: inborn bundle show"

    @property
    def needs_challenge(self) -> bool:
        return True

    def encode(self) -> bytes:
        chain = [certificate.public_bytes(Encoding.DER) for certificate in self.chain]
        return ca_pb2.X509PopEvidence(chain=chain, nonce=os.urandom(NONCE_SIZE)).SerializeToString()

    def prove(self, body: bytes) -> bytes:
        return prove(self.private_key, body)
