"""What an enrollment or a renewal brings: asked for with a CSR, and believed only after it was verified.

Roots in an answer come through the front and are not believed; the signed feed brings new ones.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from inborn._internal.feed.feed_verifier import LOG_ID_SIZE
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey, X509Svid, key_sha256, parse_chain, read_certificate
from inborn._internal.verification.verify import Authorizer, verify_chain
from inborn.errors import InternalError
from inborn_proto import ca_pb2

__all__ = ["BadAnswer", "Enrolled", "authorize_ca", "judge_answer", "make_csr"]


class BadAnswer(InternalError):
    """The CA answered with something that is not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrollment or a renewal brought, verified."""

    svid: X509Svid
    bundle: X509Bundle
    api_address: str
    """`host:port` of the API port."""
    log_id: bytes
    evidence: bytes = b""
    """Names what it was enrolled with; empty after a renewal."""


def authorize_ca(trust_domain: TrustDomain) -> Authorizer:
    """The CA's own servers of this trust domain (`/inborn/ca/...`) and nobody else, whatever is federated."""
    prefix = RESERVED_PREFIX + "ca/"
    return lambda peer: peer.trust_domain == trust_domain and peer.path.startswith(prefix)


def make_csr(key: PrivateKey) -> bytes:
    """A PKCS#10 request, DER, that proves possession of the key and says nothing else."""
    algorithm = None if not hasattr(key, "curve") else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.DER)


def judge_answer(
    answer: ca_pb2.EnrollResponse, key: PrivateKey, bundle: X509Bundle, api_address: str, wanted: SpiffeId | None = None
) -> Enrolled:
    """What came back is for our key, under the ID that it says, and leads to the bundle that is held already: roots in
    an answer come through the front and are not believed; the signed feed brings new ones."""
    now = dt.datetime.now(dt.UTC)
    chain = parse_chain(list(answer.chain))
    facts = read_certificate(chain[0])
    if facts.key_hash != key_sha256(key.public_key()):
        raise BadAnswer("certificate is not for the key that was sent")
    if str(facts.spiffe_id) != answer.spiffe_id or (wanted is not None and facts.spiffe_id != wanted):
        raise BadAnswer(f"certificate is for {facts.spiffe_id}, wanted is {wanted or ascii(answer.spiffe_id)}")
    if len(answer.log_id) != LOG_ID_SIZE:
        raise BadAnswer(f"log_id has {len(answer.log_id)} bytes, not {LOG_ID_SIZE}")
    verify_chain(
        chain,
        bundles={bundle.trust_domain: bundle},
        revocations=RevocationSet(),
        authorize=lambda _: True,
        now=now,
    )
    svid = X509Svid(spiffe_id=facts.spiffe_id, chain=chain, private_key=key, issued_at=now)
    return Enrolled(svid=svid, bundle=bundle, api_address=api_address, log_id=answer.log_id)
