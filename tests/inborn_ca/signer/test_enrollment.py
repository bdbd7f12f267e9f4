"""Joining by token and renewing: who is believed, and what stays afterwards."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.verification.verify import CertificateExpired, authorize_id, verify_chain
from inborn._internal.wire.signed_request import BadSignature
from inborn.errors import DeniedError, PreconditionError, RequestError
from inborn_ca.certificates.issuance import BadCsr
from inborn_ca.signer.commands.enrollment import RenewalStopped
from inborn_ca.signer.commands.node_attestors.join_token.attestor import (
    TokenExpired,
    TokenSpent,
    TokenWithdrawn,
    UnknownToken,
)
from inborn_ca.signer.requesters.signed import LogChanged, ReplayedRequest, UnknownRequester, WrongRecipient
from inborn_proto import admin_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, Holder


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def alarms(ca: CaBench) -> list[str]:
    return [alarm.kind for alarm in ca.reader.audit.alarms()]


def test_agent_gets_a_reserved_id_and_a_chain_that_leads_to_the_bundle(ca: CaBench) -> None:
    agent = ca.enroll()
    assert agent.facts.spiffe_id.path.startswith("/inborn/agent/")
    verify_chain(
        list(agent.response.chain),
        bundles={ca.state.trust_domain: ca.state.bundle},
        revocations=ca.state.revocations,
        authorize=authorize_id(agent.facts.spiffe_id),
        now=ca.clock(),
    )


def test_daemon_token_gives_exactly_its_id(ca: CaBench) -> None:
    daemon = ca.enroll(spiffe_id="spiffe://example.org/db")
    assert daemon.spiffe_id == "spiffe://example.org/db"
    row = ca.reader.ledger.get(daemon.facts.serial)
    assert row is not None
    assert row.kind == "daemon"


def test_daemon_token_cannot_name_the_reserved_path_or_another_domain(ca: CaBench) -> None:
    for bad in ("spiffe://example.org/inborn/ca/x", "spiffe://other.org/x", "spiffe://example.org"):
        with pytest.raises(RequestError):
            ca.create_token(spiffe_id=bad)


def test_daemon_cannot_ask_for_workloads(ca: CaBench) -> None:
    daemon = ca.enroll(spiffe_id="spiffe://example.org/db")
    entry = ca.create_entry()
    with pytest.raises(DeniedError, match="not an agent"):
        ca.issue(daemon, entry.id)


def test_lost_reply_is_asked_for_again_with_the_same_key(ca: CaBench) -> None:
    token, key = ca.create_token(), new_key()
    request = ca.enroll_request(token, key)
    first, again = ca.run(ca.enrollment.enroll(request)), ca.run(ca.enrollment.enroll(request))
    assert first.spiffe_id == again.spiffe_id
    assert first.chain[0] != again.chain[0]
    assert alarms(ca) == []


def test_second_key_for_a_spent_token_is_refused_with_an_alarm(ca: CaBench) -> None:
    token = ca.create_token()
    ca.enroll(token)
    with pytest.raises(TokenSpent) as refusal:
        ca.enroll(token)
    assert "inborn token create" in refusal.value.hint
    assert alarms(ca) == ["token.second_key"]


def test_fifty_racing_users_of_one_token_exactly_one_wins(ca: CaBench) -> None:
    token = ca.create_token()
    results = ca.group(*(ca.enrollment.enroll(ca.enroll_request(token, new_key())) for _ in range(50)), raising=False)
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert sum(isinstance(result, TokenSpent) for result in results) == 49
    assert len(ca.reader.members.all()) == 1


def test_token_for_several_uses_makes_an_agent_for_each(ca: CaBench) -> None:
    token = ca.create_token(uses=2)
    assert ca.enroll(token).spiffe_id != ca.enroll(token).spiffe_id
    with pytest.raises(TokenSpent):
        ca.enroll(token)


def test_expired_token_is_refused(ca: CaBench) -> None:
    token = ca.create_token(ttl_seconds=60)
    ca.clock.advance(seconds=60)
    with pytest.raises(TokenExpired, match=r"expired at 2026-03-01T12:01:00Z, now 2026-03-01T12:01:00Z"):
        ca.enroll(token)


def test_withdrawn_token_is_refused(ca: CaBench) -> None:
    token = ca.create_token()
    ca.run(ca.tokens.revoke(admin_pb2.RevokeTokenRequest(id=token.id.hex()), ADMIN))
    with pytest.raises(TokenWithdrawn) as refusal:
        ca.enroll(token)
    assert "inborn token create" in refusal.value.hint


def test_unknown_token_is_refused(ca: CaBench) -> None:
    token = replace(ca.create_token(), seed=b"x" * 32)
    with pytest.raises(UnknownToken):
        ca.enroll(token)


def test_token_id_without_its_key_is_refused(ca: CaBench) -> None:
    token = ca.create_token()
    thief = JoinToken(trust_domain=token.trust_domain, bundle_digest=token.bundle_digest, seed=b"y" * 32)
    request = ca.enroll_request(thief, new_key(), evidence=token.id)
    with pytest.raises(BadSignature):
        ca.run(ca.enrollment.enroll(request))
    assert ca.reader.tokens.count_uses(token.id) == 0


def test_token_of_another_trust_domain_is_refused(ca: CaBench) -> None:
    token = ca.create_token()
    with pytest.raises(WrongRecipient):
        ca.run(ca.enrollment.enroll(ca.enroll_request(token, new_key(), trust_domain="other.org")))


@pytest.mark.parametrize("csr", [b"", b"junk", b"\x30\x03\x02\x01\x01", b"x" * 200_000])
def test_enrollment_with_a_bad_csr_leaves_the_token_unused(ca: CaBench, csr: bytes) -> None:
    token = ca.create_token()
    with pytest.raises(BadCsr):
        ca.run(ca.enrollment.enroll(ca.enroll_request(token, new_key(), csr=csr)))
    assert ca.reader.tokens.count_uses(token.id) == 0
    ca.enroll(token)


def test_key_types_that_are_not_offered_are_refused(ca: CaBench) -> None:
    token = ca.create_token()
    with pytest.raises(BadCsr):
        ca.run(ca.enrollment.enroll(ca.enroll_request(token, ec.generate_private_key(ec.SECP384R1()))))
    assert isinstance(ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey)


def test_the_ca_keeps_nothing_of_a_token_that_could_be_used(ca: CaBench) -> None:
    token = ca.create_token()
    ca.state.store.backup(ca.directory / "copy.db")
    octets = (ca.directory / "copy.db").read_bytes()
    assert token.seed not in octets
    assert token.encode().encode() not in octets
    assert token.public_key in octets


def test_agent_enrolled_anew_keeps_its_id_and_loses_what_it_had(ca: CaBench) -> None:
    agent = ca.enroll(name="edge")
    again = ca.enroll(agent="edge")
    assert again.spiffe_id == agent.spiffe_id
    assert ca.is_revoked(agent.leaf)
    assert not ca.is_revoked(again.leaf)
    with pytest.raises(CertificateRevoked):
        ca.renew(agent)
    ca.renew(again)


# -- renewal --


def test_renewal_gives_the_same_identity_to_the_successor_key(ca: CaBench) -> None:
    agent = ca.enroll()
    renewed = ca.renew(agent)
    assert renewed.spiffe_id == agent.spiffe_id
    assert renewed.facts.key_hash != agent.facts.key_hash
    ca.renew(renewed)


def test_lost_renewal_is_asked_for_again_with_the_same_successor(ca: CaBench) -> None:
    agent, successor = ca.enroll(), new_key()
    first = ca.renew(agent, successor)
    again = ca.renew(agent, successor)
    assert first.facts.key_hash == again.facts.key_hash
    assert first.facts.serial != again.facts.serial


def test_another_successor_stops_renewal_for_both_holders_with_an_alarm(ca: CaBench) -> None:
    agent = ca.enroll()
    honest = ca.renew(agent)
    thief = Holder(key=agent.key, response=agent.response, number=agent.number + 10)
    with pytest.raises(RenewalStopped):
        ca.renew(thief)
    with pytest.raises(RenewalStopped):
        ca.renew(honest)
    assert alarms(ca) == ["renewal.two_holders"]
    assert not ca.is_revoked(honest.leaf)  # what was issued lives to its end


def test_disk_copied_between_writing_the_successor_and_asking_stops_at_the_next_renewal(ca: CaBench) -> None:
    agent, successor = ca.enroll(), new_key()
    one = ca.renew(agent, successor)
    two = ca.renew(Holder(key=agent.key, response=agent.response, number=agent.number), successor)
    two.number = 100
    ca.renew(one)
    with pytest.raises(RenewalStopped):
        ca.renew(two)
    assert alarms(ca) == ["renewal.two_holders"]


def test_stopped_agent_renews_again_after_it_was_enrolled_anew(ca: CaBench) -> None:
    agent = ca.enroll(name="edge")
    honest = ca.renew(agent)
    with pytest.raises(RenewalStopped):
        ca.renew(Holder(key=agent.key, response=agent.response, number=50))
    fresh = ca.enroll(agent="edge")
    ca.renew(fresh)
    with pytest.raises(CertificateRevoked):
        ca.renew(honest)


def test_renewal_is_refused_after_expiry(ca: CaBench) -> None:
    agent = ca.enroll()
    ca.clock.advance(days=7, seconds=1)
    with pytest.raises(CertificateExpired):
        ca.renew(agent)


def test_renewal_is_refused_after_a_ban(ca: CaBench) -> None:
    agent = ca.enroll(name="edge")
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent="edge"), ADMIN))
    with pytest.raises(DeniedError):
        ca.renew(agent)
    with pytest.raises(PreconditionError, match="is banned"):
        ca.create_token(agent="edge")


def test_banned_agent_is_enrolled_again_once_its_block_is_lifted(ca: CaBench) -> None:
    agent = ca.enroll(name="edge")
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent="edge"), ADMIN))
    ca.unblock(f"node:{agent.spiffe_id}")
    again = ca.enroll(agent="edge")
    ca.renew(again)
    assert ca.is_revoked(agent.leaf)


def test_ban_withdraws_the_token_that_the_agent_came_with(ca: CaBench) -> None:
    token = ca.create_token(uses=5)
    agent = ca.enroll(token)
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent=agent.spiffe_id), ADMIN))
    with pytest.raises(TokenWithdrawn):
        ca.enroll(token)


# -- the proof of a signed request --


def test_replayed_request_is_refused(ca: CaBench) -> None:
    agent = ca.enroll()
    ca.renew(agent)
    agent.number -= 1
    with pytest.raises(ReplayedRequest):
        ca.renew(agent)


def test_refused_request_cannot_be_sent_again(ca: CaBench) -> None:
    daemon = ca.enroll(spiffe_id="spiffe://example.org/db")
    ca.revoke(spiffe_id="spiffe://example.org/other")
    with pytest.raises(DeniedError):
        ca.issue(daemon, "no such entry")
    daemon.number -= 1
    with pytest.raises(ReplayedRequest):
        ca.issue(daemon, "no such entry")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"trust_domain": "other.org"}, WrongRecipient),
        ({"method": "/inborn.v1.Authority/Issue"}, WrongRecipient),
        ({"log_id": b"z" * 16}, LogChanged),
        ({"serial": b"\x01" * 19}, UnknownRequester),
        ({"serial": b""}, RequestError),
        ({"number": 0}, ReplayedRequest),
    ],
)
def test_request_that_was_signed_for_something_else_is_refused(ca: CaBench, changed: dict, error: type) -> None:
    agent = ca.enroll()
    issued = ca.state.issued_count
    with pytest.raises(error):
        ca.renew(agent, **changed)
    assert ca.state.issued_count == issued


def test_altered_request_is_refused(ca: CaBench) -> None:
    from inborn_ca.signer.commands.enrollment import RENEW_METHOD
    from inborn_proto import signer_pb2

    agent = ca.enroll()
    signed = agent.sign(RENEW_METHOD, b"")
    signed.body = signed.body[:-1] + bytes([signed.body[-1] ^ 1])
    with pytest.raises((BadSignature, RequestError, UnknownRequester)):
        ca.run(ca.enrollment.renew(signer_pb2.ForwardedRequest(request=signed)))


def test_agent_in_the_name_of_another_is_refused(ca: CaBench) -> None:
    one, two = ca.enroll(), ca.enroll()
    with pytest.raises(BadSignature):
        ca.renew(one, serial=two.facts.serial)


def test_workload_certificate_cannot_sign_requests(ca: CaBench) -> None:
    agent, entry, key = ca.enroll(), ca.create_entry(), new_key()
    svid = ca.issue(agent, entry.id, key=key)
    thief = Holder(key=key, response=agent.response)
    with pytest.raises(UnknownRequester):
        ca.renew(thief, serial=svid.serial_number.to_bytes(19, "big"))


def test_denial_leaves_an_audit_row(ca: CaBench) -> None:
    token = ca.create_token()
    ca.enroll(token)
    with pytest.raises(TokenSpent):
        ca.enroll(token)
    (row,) = [r for r in ca.reader.audit.rows(after_id=0, limit=100) if r.action.endswith(".denied")]
    assert row.actor == f"token:{token.id.hex()}"
    assert row.detail["kind"] == "TokenSpent"


def test_clock_far_ahead_expires_a_token_not_its_member(ca: CaBench) -> None:
    agent = ca.enroll(ttl_seconds=10)
    ca.clock.advance(days=2)
    assert ca.renew(agent).facts.not_after > ca.clock() + dt.timedelta(days=6)
