"""The one function in which every TLS stack ends: is this chain the SVID of somebody I may talk to, now?

Bytes and `now` in, facts out or an error raised. Nothing is looked up, nothing is remembered.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.certificate_parts import (
    InvalidSvid,
    check_critical_constraints,
    check_key,
    key_identifiers,
    read_extensions,
)
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import (
    MAX_CHAIN_LENGTH,
    CertificateFacts,
    parse_chain,
    read_certificate,
)
from inborn.errors import DeniedError, UnauthenticatedError

__all__ = [
    "Authorizer",
    "CertificateExpired",
    "NotAuthorized",
    "UntrustedCertificate",
    "authorize_any",
    "authorize_id",
    "authorize_member_of",
    "authorize_one_of",
    "verify_chain",
    "verify_current",
]

CLOCK_SKEW = dt.timedelta(seconds=30)
"""How far a certificate's notBefore may lie ahead: SVIDs are backdated by 30 s, two hosts differ by as much."""

Authorizer = Callable[[SpiffeId], bool]
"""Says whether a peer with this ID may be talked to."""


class UntrustedCertificate(UnauthenticatedError):
    """A chain does not lead to the bundle of its own trust domain."""


class CertificateExpired(UnauthenticatedError):
    """A certificate is not valid at this time."""


class NotAuthorized(DeniedError):
    """The peer is who it says, and may not be talked to."""


def authorize_any() -> Authorizer:
    """Every workload of every trust domain whose bundle is held; nothing of Inborn's own (`/inborn/...`)."""
    return lambda peer: not peer.is_reserved


def authorize_id(spiffe_id: SpiffeId) -> Authorizer:
    """Exactly this one."""
    return lambda peer: peer == spiffe_id


def authorize_one_of(*spiffe_ids: SpiffeId) -> Authorizer:
    """Any of these."""
    allowed = frozenset(spiffe_ids)
    return lambda peer: peer in allowed


def authorize_member_of(trust_domain: TrustDomain) -> Authorizer:
    """Every workload of this trust domain; nothing of Inborn's own (`/inborn/...`)."""
    return lambda peer: peer.trust_domain == trust_domain and not peer.is_reserved


def verify_chain(
    chain: Sequence[x509.Certificate] | Sequence[bytes],
    *,
    bundles: Mapping[TrustDomain, X509Bundle],
    revocations: RevocationSet,
    authorize: Authorizer,
    now: dt.datetime,
) -> CertificateFacts:
    """Verify a peer's chain (leaf first) and return the facts of its leaf.

    Checks in this order: the leaf is an X509-SVID (X509-SVID 2, 4, 5.2); it is valid now; the chain leads to the
    bundle *of the leaf's own trust domain and no other* (Workload API 4.6, RFC 5280 6.1); the leaf's authority key
    identifier is that of the certificate that signed it; every issuing certificate that names a SPIFFE ID is of the
    leaf's trust domain; it is not revoked; the authorizer says yes.

    Raises `InvalidSvid`, `CertificateExpired`, `UntrustedCertificate`, `CertificateRevoked`, `NotAuthorized`. Not
    checked: that the peer holds the private key (the TLS handshake does that), CRLs, name constraints.
    """
    certificates = _load(chain)
    facts = read_certificate(certificates[0])
    verify_current(facts, revocations=None, now=now)
    bundle = bundles.get(facts.spiffe_id.trust_domain)
    if bundle is None or bundle.trust_domain != facts.spiffe_id.trust_domain:
        raise UntrustedCertificate(f"no bundle for trust domain {facts.spiffe_id.trust_domain}")
    _verify_path(certificates, bundle, facts, now)
    revocations.check(facts)
    if not authorize(facts.spiffe_id):
        raise NotAuthorized(f"peer {facts.spiffe_id} is not authorized")
    return facts


def verify_current(facts: CertificateFacts, *, revocations: RevocationSet | None, now: dt.datetime) -> None:
    """Check again what changes with time: validity and revocation. For open and resumed connections and each RPC.

    Raises `CertificateExpired`, `CertificateRevoked`.
    """
    if now > facts.not_after:
        raise CertificateExpired(
            f"certificate of {facts.spiffe_id} expired at {_shown(facts.not_after)}, now {_shown(now)}"
        )
    if now + CLOCK_SKEW < facts.not_before:
        raise CertificateExpired(
            f"certificate of {facts.spiffe_id} is valid from {_shown(facts.not_before)}, now {_shown(now)}"
        )
    if revocations is not None:
        revocations.check(facts)


def _load(chain: Sequence[x509.Certificate] | Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    ders = [c for c in chain if isinstance(c, bytes)]
    if len(ders) == len(chain):
        return parse_chain(ders)
    certificates = tuple(c for c in chain if isinstance(c, x509.Certificate))
    if len(certificates) != len(chain):
        raise TypeError("a chain is made of certificates or of DER")
    if len(certificates) > MAX_CHAIN_LENGTH:
        raise InvalidSvid(f"chain is longer than {MAX_CHAIN_LENGTH} certificates: {len(certificates)}")
    return certificates


def _verify_path(
    chain: Sequence[x509.Certificate], bundle: X509Bundle, facts: CertificateFacts, now: dt.datetime
) -> None:
    # The skew that verify_current allows must hold for the path as well. The verifier wants UTC without saying so.
    at = max(now, facts.not_before).astimezone(dt.UTC).replace(tzinfo=None)
    try:
        verifier = PolicyBuilder().store(Store(list(bundle.roots))).time(at).build_client_verifier()
        path = verifier.verify(chain[0], list(chain[1:])).chain
    except (VerificationError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise UntrustedCertificate(
            f"certificate of {facts.spiffe_id} does not lead to the bundle of {bundle.trust_domain}: {e}"
        ) from e
    try:
        if len(path) < 2:
            raise UntrustedCertificate("certificate is its own root")
        for certificate, signer in pairwise(path):
            _check_signer(certificate, signer)
            _check_issuer(signer, bundle.trust_domain)
    except InvalidSvid as e:
        raise UntrustedCertificate(f"issuing certificate cannot be used: {e.message}") from e


def _check_signer(certificate: x509.Certificate, signer: x509.Certificate) -> None:
    """A certificate names the authority that signed it (RFC 5280 4.2.1.1); finding a path does not ask for that.

    Revocation by authority and every cut-off go by this name, and whoever stole an issuing key chooses what it says.
    """
    _, named = key_identifiers(certificate)
    key_id, _ = key_identifiers(signer)
    if not key_id:
        raise UntrustedCertificate("issuing certificate has no subject key identifier")
    if key_id != named:
        raise UntrustedCertificate(
            f"certificate's authority key identifier is {named.hex() or 'absent'}, it was signed by {key_id.hex()}"
        )


def _check_issuer(issuer: x509.Certificate, trust_domain: TrustDomain) -> None:
    """A signing certificate that has an ID has its own trust domain's, without a path (X509-SVID 4.1); its key
    is strong, and what constrains it is critical."""
    check_key(issuer)
    check_critical_constraints(issuer)
    try:
        names = read_extensions(issuer).get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri != str(trust_domain.id):
            raise UntrustedCertificate(f"issuing certificate names {uri!a}, not {trust_domain.id}")


def _shown(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
