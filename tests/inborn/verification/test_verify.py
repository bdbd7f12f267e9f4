"""The one function in which every TLS stack ends (X509-SVID 5, RFC 5280 6.1, Workload API 4.6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from inborn._internal.revocation.revocation_set import CertificateRevoked, Revocation, RevocationKind, RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import MAX_CHAIN_LENGTH, CertificateFacts, InvalidSvid, read_certificate
from inborn._internal.verification.verify import (
    CLOCK_SKEW,
    Authorizer,
    CertificateExpired,
    NotAuthorized,
    UntrustedCertificate,
    authorize_any,
    authorize_id,
    authorize_member_of,
    authorize_one_of,
    verify_chain,
    verify_current,
)
from inborn.errors import DeniedError, UnauthenticatedError
from tests.rigs import certificates
from tests.rigs.certificates import NOW, Credential, make_bundle, make_issuing, make_leaf, make_root

EXAMPLE = TrustDomain("example.org")
OTHER = TrustDomain("other.example")
SECOND = dt.timedelta(seconds=1)


@pytest.fixture(scope="module")
def root() -> Credential:
    return make_root()


@pytest.fixture(scope="module")
def issuing(root: Credential) -> Credential:
    return make_issuing(root)


@pytest.fixture(scope="module")
def other_root() -> Credential:
    return make_root("other.example")


@pytest.fixture(scope="module")
def bundles(root: Credential, other_root: Credential) -> dict[TrustDomain, X509Bundle]:
    return {EXAMPLE: make_bundle(root), OTHER: make_bundle(other_root, trust_domain="other.example")}


def verify(
    leaf: Credential,
    bundles: Mapping[TrustDomain, X509Bundle],
    *,
    authorize: Authorizer = lambda peer: True,
    now: dt.datetime = NOW,
    revocations: RevocationSet | None = None,
) -> CertificateFacts:
    return verify_chain(
        leaf.chain, bundles=bundles, revocations=revocations or RevocationSet(), authorize=authorize, now=now
    )


def revoked(kind: RevocationKind, value: bytes, authority: bytes) -> RevocationSet:
    known = RevocationSet()
    known.apply_snapshot(b"log", 1, [Revocation(seq=1, kind=kind, value=value, cut_offs={authority: None})])
    return known


Bundles = dict[TrustDomain, X509Bundle]


def test_good_chain_gives_the_facts_of_its_leaf(issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    assert verify(leaf, bundles) == read_certificate(leaf.certificate)


def test_chain_of_der_gives_the_same_as_a_chain_of_objects(issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    facts = verify_chain(
        [leaf.der, issuing.der], bundles=bundles, revocations=RevocationSet(), authorize=authorize_any(), now=NOW
    )
    assert facts == verify(leaf, bundles)


def test_root_in_the_chain_does_no_harm(root: Credential, issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    verify_chain(
        [*leaf.chain, root.certificate],
        bundles=bundles,
        revocations=RevocationSet(),
        authorize=authorize_any(),
        now=NOW,
    )


def test_leaf_of_an_ed25519_key_is_verified(issuing: Credential, bundles: Bundles) -> None:
    verify(make_leaf(issuing, key=ed25519.Ed25519PrivateKey.generate()), bundles)


def test_empty_chain_is_refused(bundles: Bundles) -> None:
    with pytest.raises(InvalidSvid, match="chain is empty"):
        verify_chain([], bundles=bundles, revocations=RevocationSet(), authorize=authorize_any(), now=NOW)


@pytest.mark.parametrize("as_der", [True, False])
def test_long_chain_is_refused_whatever_it_is_made_of(issuing: Credential, bundles: Bundles, as_der: bool) -> None:
    chain = [make_leaf(issuing), *[issuing] * MAX_CHAIN_LENGTH]
    with pytest.raises(InvalidSvid, match="longer than"):
        verify_chain(
            [c.der for c in chain] if as_der else [c.certificate for c in chain],
            bundles=bundles,
            revocations=RevocationSet(),
            authorize=authorize_any(),
            now=NOW,
        )


def test_chain_without_its_issuing_authority_is_refused(issuing: Credential, bundles: Bundles) -> None:
    with pytest.raises(UntrustedCertificate):
        verify_chain(
            [make_leaf(issuing).certificate],
            bundles=bundles,
            revocations=RevocationSet(),
            authorize=authorize_any(),
            now=NOW,
        )


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (certificates.leaf_signed_by_stranger, "does not lead to the bundle of example.org"),
        (certificates.leaf_with_altered_id, "does not lead to the bundle"),
        (certificates.leaf_with_names_not_critical, "critical when subject is empty"),
        (certificates.leaf_with_unknown_critical_extension, "critical extension"),
    ],
)
def test_bad_leaf_is_not_trusted(
    issuing: Credential, bundles: Bundles, make: Callable[[Credential], Credential], rule: str
) -> None:
    with pytest.raises(UntrustedCertificate, match=rule):
        verify(make(issuing), bundles)


@pytest.mark.parametrize(
    "make",
    [
        certificates.leaf_with_two_uris,
        certificates.leaf_without_uri,
        certificates.leaf_of_root_path,
        certificates.leaf_with_https_uri,
        certificates.leaf_without_key_usage,
        certificates.leaf_with_cert_sign,
        certificates.leaf_with_crl_sign,
        certificates.ca_as_leaf,
        certificates.leaf_with_unreadable_name,
    ],
)
def test_bad_leaf_is_no_svid(issuing: Credential, bundles: Bundles, make: Callable[[Credential], Credential]) -> None:
    with pytest.raises(InvalidSvid):
        verify(make(issuing), bundles)


@pytest.mark.parametrize(
    "make",
    [
        certificates.issuing_without_ca,
        certificates.issuing_without_cert_sign,
        certificates.issuing_with_path,
        certificates.issuing_of_other_trust_domain,
        certificates.expired_issuing,
        certificates.issuing_without_authority_key_id,
        certificates.issuing_with_unreadable_name_constraint,
        certificates.issuing_with_name_constraint_not_critical,
        certificates.issuing_with_policy_constraint_not_critical,
        certificates.issuing_with_rsa_1024,
    ],
)
def test_leaf_of_a_bad_authority_is_not_trusted(
    root: Credential, bundles: Bundles, make: Callable[[Credential], Credential]
) -> None:
    with pytest.raises(UntrustedCertificate):
        verify(make_leaf(make(root)), bundles)


def test_authority_below_one_of_path_length_0_is_not_trusted(issuing: Credential, bundles: Bundles) -> None:
    with pytest.raises(UntrustedCertificate, match="path length"):
        verify(make_leaf(certificates.issuing_below_path_length(issuing)), bundles)


def test_svid_cannot_sign_another(issuing: Credential, bundles: Bundles) -> None:
    """Whoever holds a good SVID is no authority."""
    workload = make_leaf(issuing)
    with pytest.raises(UntrustedCertificate):
        verify(make_leaf(workload), bundles)


def test_signing_certificate_is_not_used_to_authenticate(issuing: Credential, bundles: Bundles) -> None:
    with pytest.raises(InvalidSvid):
        verify(issuing, bundles)


def test_expired_root_is_not_trusted() -> None:
    root = make_root(now=NOW - dt.timedelta(days=2), life=dt.timedelta(days=1))
    with pytest.raises(UntrustedCertificate):
        verify(make_leaf(make_issuing(root)), {EXAMPLE: make_bundle(root)})


def test_leaf_signed_by_the_root_itself_is_verified(root: Credential, bundles: Bundles) -> None:
    verify(make_leaf(root), bundles)


# The trust domain.


def test_leaf_of_a_trust_domain_without_a_bundle_is_not_trusted(issuing: Credential) -> None:
    with pytest.raises(UntrustedCertificate, match=r"no bundle for trust domain example\.org"):
        verify(make_leaf(issuing), {})


def test_authority_cannot_vouch_for_another_trust_domain(issuing: Credential, bundles: Bundles) -> None:
    """The leaf says other.example, whose bundle is known, and leads to the root of example.org."""
    with pytest.raises(UntrustedCertificate, match=r"does not lead to the bundle of other\.example"):
        verify(certificates.leaf_of_other_trust_domain(issuing), bundles)


def test_federated_trust_domain_is_verified_against_its_own_bundle(other_root: Credential, bundles: Bundles) -> None:
    issuing = make_issuing(other_root, "other.example")
    assert verify(make_leaf(issuing, "spiffe://other.example/a"), bundles).spiffe_id.trust_domain == OTHER


def test_bundle_under_another_trust_domains_name_is_not_used(issuing: Credential, root: Credential) -> None:
    with pytest.raises(UntrustedCertificate):
        verify(certificates.leaf_of_other_trust_domain(issuing), {OTHER: make_bundle(root, trust_domain="example.org")})


# Who signed it: revocation by authority and every cut-off go by the authority key identifier.


def test_leaf_must_name_the_authority_that_signed_it(root: Credential, issuing: Credential, bundles: Bundles) -> None:
    another = make_issuing(root)
    with pytest.raises(UntrustedCertificate, match="authority key identifier"):
        verify(certificates.leaf_naming_another_authority(issuing, another), bundles)


def test_thief_of_a_revoked_authority_cannot_hide_behind_another(
    root: Credential, issuing: Credential, bundles: Bundles
) -> None:
    known = revoked(RevocationKind.AUTHORITY, issuing.key_id, issuing.key_id)
    with pytest.raises(CertificateRevoked):
        verify(make_leaf(issuing), bundles, revocations=known)
    with pytest.raises(UntrustedCertificate):
        verify(certificates.leaf_naming_another_authority(issuing, make_issuing(root)), bundles, revocations=known)


# Time.


def test_leaf_is_valid_to_its_last_second(issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    end = NOW + dt.timedelta(hours=1)
    verify(leaf, bundles, now=end)
    with pytest.raises(CertificateExpired, match="expired at 2026-11-20T13:00:00Z, now 2026-11-20T13:00:01Z"):
        verify(leaf, bundles, now=end + SECOND)


def test_leaf_may_begin_as_far_ahead_as_two_clocks_differ(issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    begin = NOW - dt.timedelta(seconds=30)
    verify(leaf, bundles, now=begin - CLOCK_SKEW)
    with pytest.raises(CertificateExpired, match="is valid from"):
        verify(leaf, bundles, now=begin - CLOCK_SKEW - SECOND)


def test_leaf_that_begins_in_an_hour_is_refused(issuing: Credential, bundles: Bundles) -> None:
    with pytest.raises(CertificateExpired):
        verify(certificates.not_yet_valid_leaf(issuing), bundles)


def test_expired_leaf_is_refused(issuing: Credential, bundles: Bundles) -> None:
    with pytest.raises(CertificateExpired):
        verify(certificates.expired_leaf(issuing), bundles)


def test_now_may_stand_in_any_time_zone(issuing: Credential, bundles: Bundles) -> None:
    leaf = make_leaf(issuing)
    for hours in (-12, 14):
        verify(leaf, bundles, now=NOW.astimezone(dt.timezone(dt.timedelta(hours=hours))))


def test_open_connection_ends_with_its_certificate(issuing: Credential) -> None:
    facts = read_certificate(make_leaf(issuing).certificate)
    verify_current(facts, revocations=None, now=NOW)
    with pytest.raises(CertificateExpired):
        verify_current(facts, revocations=None, now=NOW + dt.timedelta(hours=1, seconds=1))


def test_open_connection_ends_with_a_revocation(issuing: Credential) -> None:
    facts = read_certificate(make_leaf(issuing).certificate)
    verify_current(facts, revocations=RevocationSet(), now=NOW)
    with pytest.raises(CertificateRevoked):
        verify_current(facts, revocations=revoked(RevocationKind.SERIAL, facts.serial, facts.authority), now=NOW)


# Revocation and authorization.


@pytest.mark.parametrize("kind", list(RevocationKind))
def test_revoked_leaf_is_refused(issuing: Credential, bundles: Bundles, kind: RevocationKind) -> None:
    leaf = make_leaf(issuing)
    facts = read_certificate(leaf.certificate)
    value = {
        RevocationKind.SERIAL: facts.serial,
        RevocationKind.KEY: facts.key_hash,
        RevocationKind.SPIFFE_ID: certificates.ID.encode(),
        RevocationKind.ID_PREFIX: b"spiffe://example.org",
        RevocationKind.AUTHORITY: facts.authority,
    }[kind]
    with pytest.raises(CertificateRevoked):
        verify(leaf, bundles, revocations=revoked(kind, value, facts.authority))


def test_stranger_is_not_told_whether_a_certificate_is_revoked(issuing: Credential, bundles: Bundles) -> None:
    """Revocation is looked at once the chain is known to be good: what a forged one says matches nothing."""
    known = revoked(RevocationKind.SPIFFE_ID, certificates.ID.encode(), issuing.key_id)
    with pytest.raises(UntrustedCertificate):
        verify(certificates.leaf_signed_by_stranger(issuing), bundles, revocations=known)


def test_authorizer_sees_only_peers_that_were_verified(issuing: Credential, bundles: Bundles) -> None:
    asked: list[SpiffeId] = []

    def authorize(peer: SpiffeId) -> bool:
        asked.append(peer)
        return False

    known = revoked(RevocationKind.SPIFFE_ID, certificates.ID.encode(), issuing.key_id)
    for bad, revocations in (
        (certificates.leaf_signed_by_stranger(issuing), None),
        (certificates.expired_leaf(issuing), None),
        (make_leaf(issuing), known),
    ):
        with pytest.raises(UnauthenticatedError):
            verify(bad, bundles, authorize=authorize, revocations=revocations)
    assert not asked
    with pytest.raises(NotAuthorized, match=r"peer spiffe://example\.org/workload is not authorized"):
        verify(make_leaf(issuing), bundles, authorize=authorize)
    assert asked == [parse_spiffe_id(certificates.ID)]


def test_authorizers() -> None:
    a, b = parse_spiffe_id("spiffe://example.org/a"), parse_spiffe_id("spiffe://example.org/b")
    foreign = parse_spiffe_id("spiffe://other.example/a")
    ours = parse_spiffe_id("spiffe://example.org/inborn/agent/1")
    table: list[tuple[Authorizer, set[SpiffeId]]] = [
        (authorize_any(), {a, b, foreign}),
        (authorize_id(a), {a}),
        (authorize_id(ours), {ours}),
        (authorize_one_of(a, foreign), {a, foreign}),
        (authorize_one_of(), set()),
        (authorize_member_of(EXAMPLE), {a, b}),
    ]
    for authorize, allowed in table:
        assert {peer for peer in (a, b, foreign, ours) if authorize(peer)} == allowed


def test_families_say_who_must_act() -> None:
    assert issubclass(UntrustedCertificate, UnauthenticatedError)
    assert issubclass(CertificateExpired, UnauthenticatedError)
    assert issubclass(NotAuthorized, DeniedError)
    assert not issubclass(NotAuthorized, UnauthenticatedError)


def test_two_authorities_of_one_name_do_not_confuse(root: Credential, bundles: Bundles) -> None:
    """The path is found by key, also where an attacker sends a further certificate of the same subject."""
    issuing = make_issuing(root)
    stranger_root = make_root()
    common_name = issuing.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    shape = certificates.Shape(
        uris=("spiffe://example.org",),
        organization="example.org",
        common_name=str(common_name),
        is_ca=True,
        path_length=0,
        usages=frozenset({"key_cert_sign", "crl_sign"}),
        extended=None,
    )
    imposter = make_issuing(stranger_root, shape=shape)
    assert imposter.certificate.subject == issuing.certificate.subject
    leaf = make_leaf(issuing)
    verify_chain(
        [leaf.certificate, imposter.certificate, issuing.certificate],
        bundles=bundles,
        revocations=RevocationSet(),
        authorize=authorize_any(),
        now=NOW,
    )
