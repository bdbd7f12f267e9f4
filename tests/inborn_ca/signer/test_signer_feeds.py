"""What the signer pushes, read by the same verifier that agents use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.feed.feed_content import DomainUpdate, Heartbeat, NodeUpdate
from inborn._internal.feed.feed_verifier import FeedGap, FeedUpdate, FeedVerifier
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.wire.signed_request import FEED_CONTEXT, BadSignature, sign_octets
from inborn.errors import DeniedError, ExhaustedError, UnauthenticatedError
from inborn_ca.model.records import CertificateKind
from inborn_ca.signer.api import front_calls
from inborn_ca.signer.api.calls import Queued
from inborn_ca.signer.api.front_calls import FrontCalls
from inborn_ca.signer.propagation import Propagation
from inborn_ca.store.interface import CertificateFilter
from inborn_proto import admin_pb2, feed_pb2, signer_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, FakeClock, Holder, make_csr, open_bench


def front_certifier(ca: CaBench) -> Callable[[ec.EllipticCurvePrivateKey], signer_pb2.CertifyFrontResponse]:
    """One front's way to a certificate of its own."""
    calls = FrontCalls(ca.state, ca.reader, ca.feeds, Propagation(ca.clock))
    call = calls.table()["/inborn.signer.v1.Signing/CertifyFront"]
    assert isinstance(call, Queued)
    return lambda key: ca.run(call.command(signer_pb2.CertifyFrontRequest(csr=make_csr(key)), "front"))


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


class Reader:
    """An agent's place in the feeds."""

    def __init__(self, ca: CaBench, agent: Holder) -> None:
        self.ca = ca
        self.node = parse_spiffe_id(agent.spiffe_id)
        self.verifier = FeedVerifier(trust_domain=ca.state.trust_domain, node=self.node)
        for message in ca.feeds.domain_snapshot():
            self.take(message)
        self.take(ca.feeds.open_node(agent.spiffe_id, ca.reader.members.get(self.node), ca.reader.entries.all()))
        ca.published.clear()

    def take(self, message: feed_pb2.FeedMessage) -> FeedUpdate:
        return self.verifier.receive(
            message, bundle=self.ca.state.bundle, revocations=RevocationSet(), now=self.ca.clock()
        )

    def news(self) -> list[DomainUpdate | NodeUpdate | Heartbeat]:
        mine = [m for node, m in self.ca.published if node in ("", str(self.node))]
        self.ca.published.clear()
        return [self.take(message).content for message in mine]


@pytest.fixture
def reader(ca: CaBench) -> Reader:
    return Reader(ca, ca.enroll(name="edge"))


def test_snapshot_has_the_bundle_and_a_crl_of_every_authority(ca: CaBench) -> None:
    body = feed_pb2.FeedBody.FromString(ca.feeds.domain_snapshot()[0].body)
    assert list(body.domain.roots) == ca.state.bundle.ders()
    assert len(body.domain.authorities) == 2
    assert all(a.crl for a in body.domain.authorities)


def test_new_entry_is_told_to_its_node_alone(ca: CaBench, reader: Reader) -> None:
    other = Reader(ca, ca.enroll(name="other"))
    entry = ca.create_entry(node="edge")
    published = list(ca.published)
    (update,) = reader.news()
    assert isinstance(update, NodeUpdate)
    assert [e.id for e in update.entries] == [entry.id]
    ca.published = published
    assert other.news() == []


def test_changed_entry_that_leaves_a_node_is_removed_there(ca: CaBench, reader: Reader) -> None:
    ca.enroll(name="other")
    entry = ca.create_entry(node="edge")
    reader.news()
    ca.run(ca.entries.update(admin_pb2.UpdateEntryRequest(id=entry.id, set=["node"], node="other"), ADMIN))
    (update,) = reader.news()
    assert isinstance(update, NodeUpdate)
    assert update.removed == (entry.id,)


def test_revocation_is_told_with_its_cut_off(ca: CaBench, reader: Reader) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    reader.news()
    ca.revoke(spiffe_id="spiffe://example.org/web")
    updates = [u for u in reader.news() if isinstance(u, DomainUpdate) and u.revocations]
    assert len(updates) == 1
    assert updates[0].revocation_seq == 1
    rules = RevocationSet()
    rules.apply_snapshot(ca.state.log_id, 1, updates[0].revocations)
    from inborn._internal.spiffe.x509_svid import read_certificate

    assert rules.find(read_certificate(svid)) is not None
    ca.unblock("spiffe://example.org/web")
    assert rules.find(read_certificate(ca.issue(agent, entry.id))) is None


def test_missed_message_is_a_gap(ca: CaBench, reader: Reader) -> None:
    ca.revoke(spiffe_id="spiffe://example.org/a")
    ca.published.clear()
    ca.revoke(spiffe_id="spiffe://example.org/b")
    with pytest.raises(FeedGap):
        reader.news()


def test_heartbeat_shown_twice_is_not_fresh(ca: CaBench, reader: Reader) -> None:
    ca.clock.advance(seconds=5)
    ca.feeds.heartbeat()
    ((_, beat),) = ca.published
    assert reader.take(beat).is_fresh
    assert not reader.take(beat).is_fresh


def test_a_front_that_alters_a_message_is_noticed(ca: CaBench, reader: Reader) -> None:
    ca.revoke(spiffe_id="spiffe://example.org/a")
    message = next(m for node, m in ca.published if node == "")
    body = feed_pb2.FeedBody.FromString(message.body)
    del body.domain.revocations[:]
    forged = feed_pb2.FeedMessage(
        body=body.SerializeToString(), signature=message.signature, log_chain=message.log_chain
    )
    with pytest.raises(BadSignature):
        reader.take(forged)
    assert reader.take(message).is_new


def test_a_front_that_signs_with_its_own_certificate_is_refused(ca: CaBench, reader: Reader) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    chain = front_certifier(ca)(key).chain
    body = ca.feeds.domain_snapshot()[0].body
    forged = feed_pb2.FeedMessage(body=body, signature=sign_octets(key, FEED_CONTEXT, body), log_chain=chain)
    with pytest.raises((UnauthenticatedError, DeniedError)):
        reader.take(forged)


def test_a_captured_front_does_not_fill_the_disk_with_certificates(
    ca: CaBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_calls, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    key = ec.generate_private_key(ec.SECP256R1())
    certify = front_certifier(ca)
    for _ in range(20):
        certify(key)
    for _ in range(5):
        with pytest.raises(ExhaustedError, match="quota of the front"):
            certify(key)
    rows = ca.reader.ledger.select(CertificateFilter())
    assert [row.kind for row in rows].count(CertificateKind.FRONT) == 20


def test_a_front_whose_certificates_live_for_seconds_renews_each_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = open_bench(tmp_path, FakeClock(), front=dt.timedelta(seconds=2))
    certify = front_certifier(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    for second in range(100):
        monkeypatch.setattr(front_calls, "time", SimpleNamespace(monotonic=lambda now=second: float(now)))
        certify(key)
    ca.state.store.close()


def test_crls_list_the_dead_and_their_times_rise(ca: CaBench) -> None:
    from cryptography import x509

    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.revoke(spiffe_id="spiffe://example.org/web")
    active = ca.state.active
    before = x509.load_der_x509_crl(active.crl)
    ca.clock.advance(seconds=1)
    dead = [(svid.serial_number.to_bytes(19, "big"), ca.clock(), 0)]
    assert ca.run(ca.authorities.renew_crls([active.key_id], lambda key_id: dead)) == []
    after = x509.load_der_x509_crl(ca.state.active.crl)
    assert after.get_revoked_certificate_by_serial_number(svid.serial_number) is not None
    assert after.last_update_utc > before.last_update_utc
    assert after.last_update_utc <= ca.clock()
    assert len({a.crl for a in ca.state.authorities}) == 2


def test_crl_that_does_not_fit_into_the_feed_is_an_alarm_and_nothing_else_is_lost(ca: CaBench) -> None:
    """One message that no agent takes would keep every later revocation from all of them."""
    active, node = ca.state.active, ca.enroll()
    ca.clock.advance(seconds=1)
    dead = [(b"\x01" + n.to_bytes(18, "big"), ca.clock(), 4) for n in range(160_000)]
    assert ca.run(ca.authorities.renew_crls([active.key_id], lambda key_id: dead)) == []
    assert ca.state.active.crl == active.crl
    (alarm,) = ca.reader.audit.alarms()
    assert (alarm.kind, alarm.subject) == ("crl.too_large", f"authority:{active.key_id.hex()}")
    assert f"inborn revoke --authority {active.key_id.hex()}" in alarm.message
    ca.revoke(spiffe_id="spiffe://example.org/web")
    assert len(Reader(ca, node).news()) == 0  # it is in the snapshot, which can be read


def test_issuing_authority_rotates_and_the_old_one_is_cut_off_whole(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid, old = ca.issue(agent, entry.id), ca.state.active
    ca.clock.advance(days=31)
    ca.run_due()
    assert ca.state.active.key_id == old.key_id
    assert len(ca.state.authorities) == 3
    ca.clock.advance(days=20)
    ca.run_due()
    assert ca.state.active.key_id != old.key_id
    ca.revoke(spiffe_id="spiffe://example.org/web", reissue=True)
    (rule,) = ca.state.revocations
    assert rule.cut_offs[old.key_id] is None
    assert rule.cut_offs[ca.state.active.key_id] is not None
    assert ca.is_revoked(svid)
