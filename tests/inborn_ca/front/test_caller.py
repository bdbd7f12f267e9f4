"""Who calls, from what gRPC says of the connection. What gRPC lets through is looked at again, at every call."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import pytest

from inborn._internal.grpc_adapter.presented_chain import NoCertificate
from inborn._internal.revocation.revocation_set import CertificateRevoked, Revocation, RevocationKind, RevocationSet
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.verification.verify import CertificateExpired, UntrustedCertificate
from inborn._internal.wire.access import CallerClass
from inborn.errors import InbornError
from inborn_ca.front.caller import CallerReader, origin_of
from tests.rigs.certificates import NOW, Credential, make_issuing, make_leaf, make_root

DOMAIN = TrustDomain("example.org")
PEER = "ipv4:192.0.2.1:4711"


@dataclass
class World:
    """A trust domain and a reader of its callers."""

    root: Credential = field(default_factory=make_root)
    now: dt.datetime = NOW
    revocations: RevocationSet = field(default_factory=RevocationSet)

    def __post_init__(self) -> None:
        self.bundle = X509Bundle(trust_domain=DOMAIN, roots=(self.root.certificate,))
        self.issuing = make_issuing(self.root)
        self.reader = CallerReader(
            bundle=lambda: self.bundle, revocations=lambda: self.revocations, clock=lambda: self.now
        )

    def leaf(self, spiffe_id: str) -> Credential:
        return make_leaf(self.issuing, spiffe_id)


def context(leaf: Credential) -> dict[str, object]:
    """As grpc's server has it: the chain comes without its leaf."""
    assert leaf.issuer is not None
    return {"x509_pem_cert": [leaf.pem], "x509_pem_cert_chain": [leaf.issuer.chain_pem]}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/inborn/agent/a", CallerClass.AGENT),
        ("/db", CallerClass.DAEMON),
        ("/inborn/ca/x/front", CallerClass.ANONYMOUS),
        ("/inborn/health", CallerClass.ANONYMOUS),
        ("/inborn/agentx/a", CallerClass.ANONYMOUS),
        ("/inborn/agent", CallerClass.ANONYMOUS),
    ],
)
def test_class_is_told_by_the_path_of_the_id(path: str, kind: CallerClass) -> None:
    world = World()
    caller = world.reader.read(context(world.leaf(f"spiffe://example.org{path}")), PEER)
    assert caller.kind is kind
    assert caller.origin == "192.0.2.1:4711"
    assert str(caller.spiffe_id) == f"spiffe://example.org{path}"


def test_id_of_another_trust_domain_is_refused_although_our_root_signed_it() -> None:
    world = World()
    with pytest.raises(InbornError):
        world.reader.read(context(world.leaf("spiffe://other.org/inborn/agent/a")), PEER)


def test_chain_that_does_not_lead_to_our_root_is_refused() -> None:
    world, other = World(), World()
    with pytest.raises(UntrustedCertificate):
        world.reader.read(context(other.leaf("spiffe://example.org/inborn/agent/a")), PEER)


def test_caller_that_was_let_in_is_refused_once_it_has_expired() -> None:
    world = World()
    leaf = world.leaf("spiffe://example.org/inborn/agent/a")
    world.reader.read(context(leaf), PEER)
    world.now += dt.timedelta(days=30)
    with pytest.raises(CertificateExpired):
        world.reader.read(context(leaf), PEER)


def test_caller_that_was_let_in_is_refused_once_it_is_revoked() -> None:
    world = World()
    leaf = world.leaf("spiffe://example.org/inborn/agent/a")
    facts = world.reader.read(context(leaf), PEER).facts
    assert facts is not None
    rule = Revocation(seq=1, kind=RevocationKind.SERIAL, value=facts.serial, cut_offs={facts.authority: None})
    world.revocations.apply_snapshot(b"l" * 16, 1, [rule])
    with pytest.raises(CertificateRevoked):
        world.reader.read(context(leaf), PEER)


def test_caller_that_was_let_in_is_refused_once_its_root_is_gone() -> None:
    world = World()
    leaf = world.leaf("spiffe://example.org/inborn/agent/a")
    world.reader.read(context(leaf), PEER)
    world.bundle = X509Bundle(trust_domain=DOMAIN, roots=(make_root().certificate,))
    with pytest.raises(UntrustedCertificate):
        world.reader.read(context(leaf), PEER)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [b""]},
        {"x509_pem_cert": [b"no pem"]},
        {"x509_pem_cert": ["text"]},
        {"x509_pem_cert": [b"x" * 1_000_000]},
        {"x509_pem_cert_chain": [b"only issuers"]},
    ],
)
def test_connection_without_a_readable_certificate_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(NoCertificate):
        World().reader.read(bad, PEER)


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1:4711"),
        ("ipv6:%5B::1%5D:4711", "[::1]:4711"),
        ("unix:", "unix:"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_origin_is_the_address_and_short(peer: str, origin: str) -> None:
    assert origin_of(peer) == origin
