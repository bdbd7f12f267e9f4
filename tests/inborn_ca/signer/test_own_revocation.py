"""What agents and daemons may revoke by themselves."""

from __future__ import annotations

import pytest
from cryptography import x509

from inborn._internal.spiffe.x509_svid import read_certificate
from inborn.errors import DeniedError, ExhaustedError, RequestError
from inborn_ca.signer.commands.own_revocation import QUOTA, REVOKE_METHOD, NotYours, OwnRevocation
from inborn_ca.signer.requesters.signed import ReplayedRequest
from inborn_proto import ca_pb2, signer_pb2
from tests.rigs.fixtures_ca import CaBench, Holder


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


class Quota:
    """A service of its own for each test, with a clock that stands still."""

    def __init__(self, ca: CaBench) -> None:
        self.now = 0.0
        self.ca = ca
        self.service = OwnRevocation(ca.state, monotonic=lambda: self.now)

    def revoke(self, holder: Holder, *serials: bytes, reason: int = 0) -> ca_pb2.RevokeOwnResponse:
        payload = ca_pb2.RevokeOwnRequest(serials=serials, reason=reason).SerializeToString()
        signed = holder.sign(REVOKE_METHOD, payload)
        response: ca_pb2.RevokeOwnResponse = self.ca.run(
            self.service.revoke(signer_pb2.ForwardedRequest(request=signed))
        )
        return response


def serial(certificate: x509.Certificate) -> bytes:
    return read_certificate(certificate).serial


def test_agent_revokes_what_it_fetched(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid, other = ca.issue(agent, entry.id), ca.issue(agent, entry.id)
    assert Quota(ca).revoke(agent, serial(svid), serial(svid)).revoked == 1
    assert ca.is_revoked(svid)
    assert not ca.is_revoked(other)
    ca.issue(agent, entry.id)  # nothing is blocked


def test_agent_cannot_revoke_what_another_agent_fetched(ca: CaBench) -> None:
    agent, other, entry = ca.enroll(), ca.enroll(), ca.create_entry()
    mine, theirs = ca.issue(agent, entry.id), ca.issue(other, entry.id)
    with pytest.raises(NotYours):
        Quota(ca).revoke(agent, serial(mine), serial(theirs))
    assert not ca.is_revoked(mine)  # all of it, or nothing
    assert not ca.is_revoked(theirs)


def test_unknown_serial_is_refused_like_somebody_elses(ca: CaBench) -> None:
    agent, other, entry = ca.enroll(), ca.enroll(), ca.create_entry()
    theirs = serial(ca.issue(other, entry.id))
    texts = []
    for each in (theirs, b"\x01" * 19):
        with pytest.raises(NotYours) as caught:
            Quota(ca).revoke(agent, each)
        texts.append(caught.value.message.replace(each.hex(), "X"))
    assert texts[0] == texts[1]


def test_daemon_revokes_its_own(ca: CaBench) -> None:
    daemon, other = ca.enroll(spiffe_id="spiffe://example.org/db"), ca.enroll(spiffe_id="spiffe://example.org/x")
    with pytest.raises(NotYours):
        Quota(ca).revoke(daemon, other.facts.serial)
    assert Quota(ca).revoke(daemon, daemon.facts.serial, reason=1).revoked == 1
    assert ca.is_revoked(daemon.leaf)
    with pytest.raises(DeniedError):
        ca.renew(daemon)


def test_dead_certificates_cost_no_rule(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    quota = Quota(ca)
    quota.revoke(agent, serial(svid))
    assert quota.revoke(agent, serial(svid)).revoked == 0
    assert ca.reader.revocations.seq() == 1


def test_flood_of_one_requester_is_stopped_and_others_go_on(ca: CaBench) -> None:
    agent, other, entry = ca.enroll(), ca.enroll(), ca.create_entry()
    quota = Quota(ca)
    quota.service.quota.take(agent.spiffe_id, QUOTA, quota.now)
    svid, theirs = ca.issue(agent, entry.id), ca.issue(other, entry.id)
    with pytest.raises(ExhaustedError):
        quota.revoke(agent, serial(svid))
    assert quota.revoke(other, serial(theirs)).revoked == 1
    quota.now += 1
    assert quota.revoke(agent, serial(svid)).revoked == 1


def test_replayed_revocation_is_refused(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    Quota(ca).revoke(agent, serial(svid))
    agent.number -= 1
    with pytest.raises(ReplayedRequest):
        Quota(ca).revoke(agent, serial(svid))


@pytest.mark.parametrize("serials", [[], [b""], [b"x" * 21], [b"\x01"] * 501])
def test_bad_requests_are_refused(ca: CaBench, serials: list[bytes]) -> None:
    agent = ca.enroll()
    with pytest.raises(RequestError):
        Quota(ca).revoke(agent, *serials)


@pytest.mark.parametrize("reason", [6, 7, 8, 99])
def test_reasons_that_are_not_offered_are_refused(ca: CaBench, reason: int) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    with pytest.raises(RequestError):
        Quota(ca).revoke(agent, serial(ca.issue(agent, entry.id)), reason=reason)
