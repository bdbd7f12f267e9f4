"""A captured front: it reads what passes through it, and can ask, alter, replay, invent and be silent.

It must get nothing that an honest one has not: no certificate in anybody's name, no token, no rule, no root. One test
for each check that the signer makes, and for each that agents make of the feeds that the front carries.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from inborn._internal.address import InvalidAddress
from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.feed.feed_content import Heartbeat
from inborn._internal.feed.feed_verifier import FeedGap, FeedRollback, FeedUpdate, FeedVerifier, WrongFeed
from inborn._internal.revocation.revocation_set import CertificateRevoked, Revocation, RevocationKind, RevocationSet
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import load_certificate, read_certificate, serial_octets
from inborn._internal.verification.verify import NotAuthorized, UntrustedCertificate
from inborn._internal.wire.access import CallNotAllowed
from inborn._internal.wire.messages import error_from_message
from inborn._internal.wire.methods import find_method
from inborn._internal.wire.signed_request import (
    FEED_CONTEXT,
    REQUEST_CONTEXT,
    BadSignature,
    sign_octets,
)
from inborn.errors import DeniedError, ExhaustedError, InbornError, NotFoundError, UnauthenticatedError
from inborn.testing import MemoryAuthority
from inborn_ca.signer.commands.node_attestors.join_token.attestor import TokenSpent, UnknownToken
from inborn_ca.signer.requesters.signed import LogChanged, ReplayedRequest, UnknownRequester, WrongRecipient
from inborn_proto import admin_pb2, ca_pb2, feed_pb2, signed_pb2, signer_pb2
from tests.rigs.captured_front import TRUST_DOMAIN, CapturedFront, all_methods, issue_payload, new_key
from tests.rigs.front_rig import EnrolledAgent, enroll_request, make_csr


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CapturedFront]:
    captured = CapturedFront(tmp_path_factory.mktemp("ca"))
    yield captured
    captured.end()


@pytest.fixture(scope="module")
def agent(front: CapturedFront) -> EnrolledAgent:
    return front.enroll()


@pytest.fixture
def entry(front: CapturedFront, agent: EnrolledAgent) -> Iterator[str]:
    """An entry of the honest agent's."""
    created = front.entry(agent.spiffe_id)
    yield created
    front.admin("DeleteEntry", admin_pb2.EntryRequest(id=created))


def body_of(request: signed_pb2.SignedRequest) -> signed_pb2.SignedBody:
    return signed_pb2.SignedBody.FromString(request.body)


def altered(request: signed_pb2.SignedRequest, **changed: object) -> signed_pb2.SignedRequest:
    """The same request with other fields, under the signature of the true one."""
    body = body_of(request)
    for name, value in changed.items():
        setattr(body, name, value)
    return signed_pb2.SignedRequest(body=body.SerializeToString(), signature=request.signature)


def forged(key: ec.EllipticCurvePrivateKey, body: signed_pb2.SignedBody) -> signed_pb2.SignedRequest:
    """Signed by a key of the front's own."""
    octets = body.SerializeToString()
    return signed_pb2.SignedRequest(body=octets, signature=sign_octets(key, REQUEST_CONTEXT, octets))


def item_error(response: ca_pb2.IssueResponse) -> InbornError:
    (result,) = response.results
    assert result.HasField("error"), "a certificate was issued"
    return error_from_message(result.error)


# -- in an agent's name ------------------------------------------------------------------------------------------------


def test_request_in_another_agents_name_is_refused(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    """An agent that the front owns too signs, under the serial of the one that it wants to be."""
    accomplice = front.enroll()
    true = accomplice.sign("Issue", issue_payload(entry, make_csr(new_key())))
    serial = serial_octets(load_certificate(agent.response.chain[0]).serial_number)
    body = body_of(true)
    body.serial = serial
    body.number = agent.number + 1
    with pytest.raises(BadSignature):
        front.forward_issue(forged(accomplice.key, body))
    assert front.forward_issue(agent.sign("Issue", issue_payload(entry, make_csr(new_key())))).results[0].leaf


def test_request_signed_by_a_key_of_the_fronts_own_is_refused(
    front: CapturedFront, agent: EnrolledAgent, entry: str
) -> None:
    body = body_of(agent.sign("Issue", issue_payload(entry, make_csr(new_key()))))
    with pytest.raises(BadSignature):
        front.forward_issue(forged(new_key(), body))


def test_fronts_own_certificate_asks_for_nothing(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    key = new_key()
    leaf = load_certificate(front.certify_front(make_csr(key))[0])
    body = body_of(agent.sign("Issue", issue_payload(entry, make_csr(new_key()))))
    body.serial = serial_octets(leaf.serial_number)
    with pytest.raises(UnknownRequester):
        front.forward_issue(forged(key, body))


def test_csr_in_a_request_cannot_be_replaced(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    true = agent.sign("Issue", issue_payload(entry, make_csr(new_key())))
    with pytest.raises(BadSignature):
        front.forward_issue(altered(true, payload=issue_payload(entry, make_csr(new_key()))))
    assert front.forward_issue(true).results[0].leaf  # nothing was used up by the lie


def test_selectors_in_a_request_cannot_be_added_to(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    csr = make_csr(new_key())
    true = agent.sign("Issue", issue_payload(entry, csr, "unix:uid:7"))
    with pytest.raises(BadSignature):
        front.forward_issue(altered(true, payload=issue_payload(entry, csr, "unix:uid:7", "unix:uid:1000")))
    assert "unix:uid:1000" in item_error(front.forward_issue(true)).message


def test_request_is_good_once(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    true = agent.sign("Issue", issue_payload(entry, make_csr(new_key())))
    assert front.forward_issue(true).results[0].leaf
    before = front.rows()
    with pytest.raises(ReplayedRequest):
        front.forward_issue(true)
    assert front.rows() == before


def test_refused_request_is_used_up_as_well(front: CapturedFront, agent: EnrolledAgent) -> None:
    """Otherwise the front keeps a refused one for the day on which it would be granted."""
    true = agent.sign("Issue", ca_pb2.IssueRequest().SerializeToString())
    with pytest.raises(InbornError, match="0 items"):
        front.forward_issue(true)
    with pytest.raises(ReplayedRequest):
        front.forward_issue(true)


def test_denied_item_cannot_be_replayed_when_it_would_be_granted(front: CapturedFront, agent: EnrolledAgent) -> None:
    csr = make_csr(new_key())
    created = front.entry(agent.spiffe_id, "/later")
    true = agent.sign("Issue", issue_payload(created, csr, "unix:uid:8"))
    assert "unix:uid:1000" in item_error(front.forward_issue(true)).message
    request = admin_pb2.UpdateEntryRequest(id=created, set=["selectors"], selectors=["unix:uid:8"])
    front.admin("UpdateEntry", request)
    with pytest.raises(ReplayedRequest):
        front.forward_issue(true)


def test_number_of_a_request_cannot_be_raised(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    true = agent.sign("Issue", issue_payload(entry, make_csr(new_key())))
    front.forward_issue(true)
    with pytest.raises(BadSignature):
        front.forward_issue(altered(true, number=agent.number + 1000))


def test_request_for_one_method_is_none_for_another(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    issue = agent.sign("Issue", issue_payload(entry, make_csr(new_key())))
    renew = agent.sign("Renew", ca_pb2.RenewRequest(csr=make_csr(new_key())).SerializeToString())
    with pytest.raises(WrongRecipient, match="was signed for"):
        front.forward_renew(issue)
    with pytest.raises(WrongRecipient, match="was signed for"):
        front.forward_issue(renew)


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"trust_domain": "other.example"}, WrongRecipient), ({"log_id": bytes(16)}, LogChanged)],
)
def test_request_that_was_meant_for_another_ca_is_refused(
    front: CapturedFront, agent: EnrolledAgent, entry: str, changed: dict[str, object], error: type[InbornError]
) -> None:
    """Truly signed by the agent, for a trust domain or a log that is not this one."""
    body = body_of(agent.sign("Issue", issue_payload(entry, make_csr(new_key()))))
    for name, value in changed.items():
        setattr(body, name, value)
    with pytest.raises(error):
        front.forward_issue(forged(agent.key, body))


def test_signature_under_another_context_is_refused(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    true = agent.sign("Issue", issue_payload(entry, make_csr(new_key())))
    signature = sign_octets(agent.key, FEED_CONTEXT, true.body)
    with pytest.raises(BadSignature):
        front.forward_issue(signed_pb2.SignedRequest(body=true.body, signature=signature))


def test_agent_gets_nothing_for_an_entry_of_another_node(
    front: CapturedFront, agent: EnrolledAgent, entry: str
) -> None:
    """Front and one agent together."""
    accomplice = front.enroll()
    answer = front.forward_issue(accomplice.sign("Issue", issue_payload(entry, make_csr(new_key()))))
    assert agent.spiffe_id in item_error(answer).message


def test_agent_gets_nothing_for_an_entry_that_does_not_exist(front: CapturedFront, agent: EnrolledAgent) -> None:
    payload = issue_payload("00000000-0000-0000-0000-000000000000", make_csr(new_key()))
    assert isinstance(item_error(front.forward_issue(agent.sign("Issue", payload))), DeniedError)


def test_banned_agent_gets_nothing_however_the_front_helps(front: CapturedFront) -> None:
    banned = front.enroll()
    created = front.entry(banned.spiffe_id, "/banned")
    front.admin("BanAgent", admin_pb2.BanAgentRequest(agent=banned.spiffe_id))
    with pytest.raises(CertificateRevoked):
        front.forward_issue(banned.sign("Issue", issue_payload(created, make_csr(new_key()))))
    payload = ca_pb2.RenewRequest(csr=make_csr(new_key())).SerializeToString()
    with pytest.raises(CertificateRevoked):
        front.forward_renew(banned.sign("Renew", payload))


def test_workloads_certificate_asks_for_nothing(front: CapturedFront, agent: EnrolledAgent, entry: str) -> None:
    key = new_key()
    (result,) = front.forward_issue(agent.sign("Issue", issue_payload(entry, make_csr(key)))).results
    body = body_of(agent.sign("Issue", issue_payload(entry, make_csr(new_key()))))
    body.serial = serial_octets(load_certificate(result.leaf).serial_number)
    with pytest.raises(UnknownRequester):
        front.forward_issue(forged(key, body))


# -- renewals ----------------------------------------------------------------------------------------------------------


def test_successor_in_a_renewal_cannot_be_replaced(front: CapturedFront) -> None:
    agent = front.enroll()
    true = agent.sign("Renew", ca_pb2.RenewRequest(csr=make_csr(new_key())).SerializeToString())
    with pytest.raises(BadSignature):
        front.forward_renew(altered(true, payload=ca_pb2.RenewRequest(csr=make_csr(new_key())).SerializeToString()))
    assert front.forward_renew(true).spiffe_id == agent.spiffe_id
    assert not front.admin("GetStatus", admin_pb2.StatusRequest()).alarms


def test_renewal_is_good_once(front: CapturedFront) -> None:
    agent = front.enroll()
    true = agent.sign("Renew", ca_pb2.RenewRequest(csr=make_csr(new_key())).SerializeToString())
    front.forward_renew(true)
    with pytest.raises(ReplayedRequest):
        front.forward_renew(true)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_token_is_not_spent_by_its_id(front: CapturedFront) -> None:
    """The front sees a token's ID when it passes by, and its signature under one CSR; never its secret."""
    token = front.token()
    body = ca_pb2.EnrollBody(
        trust_domain=TRUST_DOMAIN.name, kind="join_token", evidence=token.id, csr=make_csr(new_key())
    )
    octets = body.SerializeToString()
    signature = sign_octets(ed25519.Ed25519PrivateKey.generate(), enroll_context("join_token"), octets)
    with pytest.raises(BadSignature):
        front.forward_enroll(ca_pb2.EnrollRequest(body=octets, proof=signature))
    assert_still_good(front, token)


def test_token_is_not_spent_for_a_csr_of_the_fronts_own(front: CapturedFront) -> None:
    token = front.token()
    true = enroll_request(token, make_csr(new_key()))
    body = ca_pb2.EnrollBody.FromString(true.body)
    body.csr = make_csr(new_key())
    with pytest.raises(BadSignature):
        front.forward_enroll(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=true.proof))
    assert_still_good(front, token)


def test_token_of_another_id_is_not_known(front: CapturedFront) -> None:
    token = front.token()
    true = enroll_request(token, make_csr(new_key()))
    body = ca_pb2.EnrollBody.FromString(true.body)
    body.evidence = bytes(16)
    with pytest.raises(UnknownToken):
        front.forward_enroll(ca_pb2.EnrollRequest(body=body.SerializeToString(), proof=true.proof))


def test_enrollment_that_is_replayed_gives_the_joiners_key_another_certificate_and_nobody_else_one(
    front: CapturedFront,
) -> None:
    """The answer may have been lost; the front has no use for a certificate whose key it does not have."""
    token, key = front.token(), new_key()
    true = enroll_request(token, make_csr(key))
    first, second = front.forward_enroll(true), front.forward_enroll(true)
    assert first.spiffe_id == second.spiffe_id
    assert load_certificate(second.chain[0]).public_key() == key.public_key()
    with pytest.raises(TokenSpent):
        front.forward_enroll(enroll_request(token, make_csr(new_key())))
    (alarm,) = front.admin("GetStatus", admin_pb2.StatusRequest()).alarms
    assert alarm.kind == "token.second_key"
    front.admin("AcknowledgeAlarm", admin_pb2.AcknowledgeAlarmRequest(id=alarm.id))


def assert_still_good(front: CapturedFront, token: JoinToken) -> None:
    key = new_key()
    assert load_certificate(front.forward_enroll(enroll_request(token, make_csr(key))).chain[0]).public_key() == (
        key.public_key()
    )


# -- what the front may ask for itself ---------------------------------------------------------------------------------


def greedy_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """It asks for everything that a request can name."""
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier("spiffe://example.org/inborn/ca/x/log"),
        x509.UniformResourceIdentifier("spiffe://example.org/admin"),
        x509.DNSName("*.example.org"),
    ]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.DER)


def test_front_is_certified_for_its_own_name_whatever_it_asks_for(front: CapturedFront) -> None:
    key = new_key()
    leaf = load_certificate(front.certify_front(greedy_csr(key))[0])
    facts = read_certificate(leaf)
    assert facts.spiffe_id.path.split("/")[1:3] == ["inborn", "ca"]
    assert facts.spiffe_id.path.endswith("/front")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(facts.spiffe_id)]
    assert names.get_values_for_type(x509.DNSName) == [facts.spiffe_id.alias]
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("method", [*all_methods("inborn.admin.v1.Admin"), *all_methods("inborn.signer.v1.Fronting")])
def test_front_may_not_do_what_admins_do(front: CapturedFront, method: str) -> None:
    found = find_method(method)
    with pytest.raises(CallNotAllowed):
        front.call(method, found.request(), found.response)


def test_method_that_does_not_exist_is_refused(front: CapturedFront) -> None:
    with pytest.raises((CallNotAllowed, NotFoundError)):
        front.call("/inborn.signer.v1.Signing/AddRoot", signed_pb2.Error(), signed_pb2.Error)


@pytest.mark.parametrize("node", ["spiffe://example.org/web", "spiffe://example.org/inborn/agent/invented"])
def test_node_feed_of_who_has_not_enrolled_is_refused(front: CapturedFront, entry: str, node: str) -> None:
    with pytest.raises(CallNotAllowed):
        front.node_snapshot(node)


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", b"\0\0\0\3\xff\xff\xff", b"\0\0\0\2\x08\x63"])
def test_octets_that_are_no_frame_end_the_link_and_harm_nothing(tmp_path: Path, octets: bytes) -> None:
    front = CapturedFront(tmp_path / "d")
    front.enroll()
    rows = front.rows()
    front.socket.sendall(octets)
    front.process.wait(30)
    again = CapturedFront(tmp_path / "d")
    assert again.bundle == front.bundle
    assert again.rows() >= rows
    again.end()


# -- the feeds that it carries -----------------------------------------------------------------------------------------


class Reader:
    """An agent's place in the feeds, which come to it through the front."""

    def __init__(self, front: CapturedFront, node: str) -> None:
        self._front = front
        self.verifier = FeedVerifier(trust_domain=TRUST_DOMAIN, node=parse_spiffe_id(node))
        front.published.clear()
        self.domain, self.mine = front.domain_snapshot(), front.node_snapshot(node)
        self.take(self.domain)
        self.take(self.mine)

    def take(self, message: feed_pb2.FeedMessage, revocations: RevocationSet | None = None) -> FeedUpdate:
        return self.verifier.receive(
            message,
            bundle=self._front.bundle,
            revocations=revocations or RevocationSet(),
            now=dt.datetime.now(dt.UTC),
        )

    @property
    def place(self) -> tuple[bytes, int, int]:
        return self.verifier.log_id, self.verifier.domain_revision, self.verifier.node_revision


@pytest.fixture
def reader(front: CapturedFront, agent: EnrolledAgent) -> Reader:
    return Reader(front, agent.spiffe_id)


def news(front: CapturedFront, reader: Reader | None = None) -> feed_pb2.FeedMessage:
    """The message that comes when an admin revokes. A reader that is named takes what comes before it (CRLs, beats)."""
    target = f"spiffe://example.org/gone/{os.urandom(4).hex()}"
    front.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=target))
    while True:
        message = front.next_published()
        if target in {rule.value.decode() for rule in said(message).domain.revocations}:
            return message
        if reader is not None:
            reader.take(message)


def beat(front: CapturedFront, reader: Reader | None = None) -> feed_pb2.FeedMessage:
    """The next heartbeat, five seconds after the last one."""
    while True:
        message = front.next_published()
        if said(message).WhichOneof("content") == "heartbeat":
            return message
        if reader is not None:
            reader.take(message)


def said(message: feed_pb2.FeedMessage) -> feed_pb2.FeedBody:
    return feed_pb2.FeedBody.FromString(message.body)


def with_a_root_of_the_fronts(message: feed_pb2.FeedMessage) -> bytes:
    body = feed_pb2.FeedBody.FromString(message.body)
    body.domain.roots.append(MemoryAuthority(TRUST_DOMAIN.name).root.public_bytes(serialization.Encoding.DER))
    return body.SerializeToString()


def test_root_that_was_added_to_a_message_is_refused(front: CapturedFront, reader: Reader) -> None:
    message = news(front, reader)
    place = reader.place
    lie = feed_pb2.FeedMessage(
        body=with_a_root_of_the_fronts(message), signature=message.signature, log_chain=message.log_chain
    )
    with pytest.raises(BadSignature):
        reader.take(lie)
    assert reader.place == place
    assert reader.take(message).is_new


def test_rule_that_was_taken_out_of_a_message_is_missed(front: CapturedFront, reader: Reader) -> None:
    message = news(front, reader)
    body = feed_pb2.FeedBody.FromString(message.body)
    del body.domain.revocations[:]
    lie = feed_pb2.FeedMessage(body=body.SerializeToString(), signature=message.signature, log_chain=message.log_chain)
    with pytest.raises(BadSignature):
        reader.take(lie)


def test_message_that_the_front_signs_with_its_own_certificate_is_refused(front: CapturedFront, reader: Reader) -> None:
    key = new_key()
    chain = front.certify_front(make_csr(key))
    body = with_a_root_of_the_fronts(news(front, reader))
    with pytest.raises(NotAuthorized):
        reader.take(feed_pb2.FeedMessage(body=body, signature=sign_octets(key, FEED_CONTEXT, body), log_chain=chain))


def test_message_that_an_agent_signs_is_refused(front: CapturedFront, agent: EnrolledAgent, reader: Reader) -> None:
    body = with_a_root_of_the_fronts(news(front, reader))
    signature = sign_octets(agent.key, FEED_CONTEXT, body)
    with pytest.raises(NotAuthorized):
        reader.take(feed_pb2.FeedMessage(body=body, signature=signature, log_chain=agent.response.chain))


def test_message_under_the_true_chain_and_another_key_is_refused(front: CapturedFront, reader: Reader) -> None:
    message = news(front, reader)
    body = with_a_root_of_the_fronts(message)
    signature = sign_octets(ed25519.Ed25519PrivateKey.generate(), FEED_CONTEXT, body)
    with pytest.raises(BadSignature):
        reader.take(feed_pb2.FeedMessage(body=body, signature=signature, log_chain=message.log_chain))


def test_message_under_an_authority_of_the_fronts_own_is_refused(front: CapturedFront, reader: Reader) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    own = MemoryAuthority(TRUST_DOMAIN.name)
    leaf = own.certificate("spiffe://example.org/inborn/ca/x/log", key.public_key())
    chain = [c.public_bytes(serialization.Encoding.DER) for c in (leaf, own.issuing)]
    body = with_a_root_of_the_fronts(news(front, reader))
    with pytest.raises(UntrustedCertificate):
        reader.take(feed_pb2.FeedMessage(body=body, signature=sign_octets(key, FEED_CONTEXT, body), log_chain=chain))


def test_message_of_another_trust_domains_ca_is_refused(front: CapturedFront, reader: Reader, tmp_path: Path) -> None:
    other = CapturedFront(tmp_path / "d", trust_domain="other.example")
    try:
        with pytest.raises(InbornError) as caught:
            reader.take(other.domain_snapshot())
        assert isinstance(caught.value, UnauthenticatedError)
    finally:
        other.end()


def test_message_without_a_signer_is_refused(front: CapturedFront, reader: Reader) -> None:
    with pytest.raises(InbornError):
        reader.take(feed_pb2.FeedMessage(body=news(front, reader).body))


def test_message_of_a_signer_that_was_revoked_is_refused(front: CapturedFront, reader: Reader) -> None:
    message = news(front, reader)
    facts = read_certificate(load_certificate(message.log_chain[0]))
    revocations = RevocationSet()
    rule = Revocation(seq=1, kind=RevocationKind.SERIAL, value=facts.serial, cut_offs={facts.authority: None})
    revocations.apply_snapshot(bytes(16), 1, [rule])
    with pytest.raises(CertificateRevoked):
        reader.take(message, revocations)


def test_another_nodes_entries_are_refused(front: CapturedFront, reader: Reader) -> None:
    with pytest.raises(WrongFeed, match="feed is for"):
        reader.take(front.node_snapshot(front.enroll().spiffe_id))


def test_message_that_was_left_out_is_noticed_at_the_next_one(front: CapturedFront, reader: Reader) -> None:
    news(front, reader)
    second = news(front)
    with pytest.raises(FeedGap):
        reader.take(second)


def test_message_that_was_left_out_is_noticed_at_the_next_heartbeat(front: CapturedFront, reader: Reader) -> None:
    news(front, reader)
    message = beat(front)
    with pytest.raises(FeedGap):
        reader.take(message)


def test_older_state_is_refused(front: CapturedFront, reader: Reader) -> None:
    """A snapshot from before a revocation, truly signed."""
    old = reader.domain
    reader.take(news(front, reader))
    with pytest.raises(FeedRollback):
        reader.take(old)


def test_message_that_is_shown_again_says_nothing_of_now(front: CapturedFront, reader: Reader) -> None:
    message = news(front, reader)
    assert reader.take(message).is_fresh
    again = reader.take(message)
    assert not again.is_new
    assert not again.is_fresh


def test_heartbeat_that_is_shown_again_does_not_make_a_silent_ca_alive(front: CapturedFront, reader: Reader) -> None:
    message = beat(front, reader)
    first = reader.take(message)
    assert isinstance(first.content, Heartbeat)
    assert first.is_fresh
    assert not reader.take(message).is_fresh


def test_order_of_two_messages_cannot_be_changed(front: CapturedFront, reader: Reader) -> None:
    first = news(front, reader)
    second = news(front)
    with pytest.raises(FeedGap):
        reader.take(second)
    assert reader.take(first).is_new


def test_daemon_takes_no_node_feed(front: CapturedFront, agent: EnrolledAgent) -> None:
    verifier = FeedVerifier(trust_domain=TRUST_DOMAIN)
    with pytest.raises(WrongFeed, match="not a daemon"):
        verifier.receive(
            front.node_snapshot(agent.spiffe_id),
            bundle=front.bundle,
            revocations=RevocationSet(),
            now=dt.datetime.now(dt.UTC),
        )


def test_front_that_asks_for_certificates_of_its_own_without_end_is_stopped(front: CapturedFront) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    def ask_without_end() -> None:
        for _ in range(50):
            front.certify_front(make_csr(key))

    with pytest.raises(ExhaustedError, match="the front"):
        ask_without_end()


@pytest.mark.parametrize(
    "text", ["*.example.org:1", "ca\nX: y:1", "a,DNS:b:1", "ca", "http://ca:1", "x" * 10_000 + ":1"]
)
def test_front_that_invents_an_address_gets_no_name_into_a_certificate_or_a_terminal(
    front: CapturedFront, text: str
) -> None:
    before = front.admin("GetStatus", admin_pb2.StatusRequest())
    for invented in (
        signer_pb2.AttachRequest(bootstrap_address=text),
        signer_pb2.AttachRequest(api_address=text),
        signer_pb2.AttachRequest(crl_address=text),
    ):
        with pytest.raises(InvalidAddress):
            front.call("Attach", invented, signer_pb2.AttachResponse)
    after = front.admin("GetStatus", admin_pb2.StatusRequest())
    assert (after.bootstrap_address, after.api_address, after.crl_address) == (
        before.bootstrap_address,
        before.api_address,
        before.crl_address,
    )
