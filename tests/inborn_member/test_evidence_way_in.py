"""Getting in with a token: whose it may be, what it may give, and that it is shown once."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

import inborn
from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.source.snapshot import NoIdentity
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain, parse_spiffe_id
from inborn.errors import RequestError
from inborn_member.evidence_way_in import EvidenceWayIn
from inborn_member.given_token import GivenToken
from inborn_member.identity_store import IdentityStore
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.way_in import NoEvidence, WrongIdentity
from tests.inborn_member.fixtures_member import Member
from tests.rigs.fixtures_spoken_ca import DAEMON, SpokenAuthority

FORMER = parse_spiffe_id(DAEMON)


def anyone(spiffe_id: SpiffeId) -> None:
    """Whoever it is."""


def nobody(spiffe_id: SpiffeId) -> None:
    raise WrongIdentity(f"{spiffe_id} is nobody")


def of_domain(token: JoinToken, name: str) -> JoinToken:
    return dataclasses.replace(token, trust_domain=TrustDomain(name))


async def test_a_token_of_another_trust_domain_is_shown_to_nobody(ca: SpokenAuthority, tmp_path: Path) -> None:
    tokens = GivenToken(of_domain(ca.token, "other.org"), None, ca.address)
    way = EvidenceWayIn(ca.authority.trust_domain, tokens, anyone)
    with pytest.raises(WrongIdentity, match=r"is for trust domain other\.org, what is kept here"):
        await way.enroll(IdentityStore(tmp_path), FORMER)
    with pytest.raises(NoEvidence):  # and not again
        await way.enroll(IdentityStore(tmp_path), FORMER)
    assert ca.enrolled == []


async def test_an_identity_that_is_not_such_a_members_is_refused_and_its_token_not_shown_again(
    ca: SpokenAuthority, tmp_path: Path
) -> None:
    way = EvidenceWayIn(ca.authority.trust_domain, GivenToken(ca.token, None, ca.address), nobody)
    for error in (WrongIdentity, NoEvidence):
        with pytest.raises(error):
            await way.enroll(IdentityStore(tmp_path), None)
    assert len(ca.enrolled) == 1


async def test_what_is_enrolled_names_its_token_and_the_same_key_asks_again(
    ca: SpokenAuthority, tmp_path: Path
) -> None:
    way = EvidenceWayIn(ca.authority.trust_domain, GivenToken(ca.token.encode(), None, ca.address), anyone)
    first = await way.enroll(IdentityStore(tmp_path), None)
    again = await way.enroll(IdentityStore(tmp_path), None)  # what came was not kept
    assert first.evidence == again.evidence == ca.token.id
    assert first.svid.facts.key_hash == again.svid.facts.key_hash
    way.used(ca.token.id)
    with pytest.raises(NoEvidence) as caught:
        await way.enroll(IdentityStore(tmp_path), FORMER)
    assert DAEMON in caught.value.hint


async def test_a_token_file_is_read_each_time(ca: SpokenAuthority, tmp_path: Path) -> None:
    file = tmp_path / "token"
    given = GivenToken(None, file, ca.address)
    with pytest.raises(NoEvidence, match="there is no join token"):
        await given.evidence(None)
    file.write_text(f"\n {ca.token.encode()}\n")
    assert await given.evidence(None) == (TokenEvidence(ca.token), ca.address)
    given.spent(ca.token.id)
    with pytest.raises(NoEvidence, match="has been used or was refused"):
        await given.evidence(None)
    ca.new_token()
    file.write_text(ca.token.encode())
    assert (await given.evidence(None))[0] == TokenEvidence(ca.token)


@pytest.mark.parametrize("content", [b"", b"inborn1-abc", b"\xff" * 100, b"x" * 5000])
def test_a_token_file_with_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(RequestError):
        GivenToken(None, tmp_path / "token", "ca:1").read()
    with pytest.raises(RequestError, match="cannot read"):
        GivenToken(None, tmp_path, "ca:1").read()


def test_a_directory_of_another_trust_domain_is_left_alone(ca: SpokenAuthority, tmp_path: Path) -> None:
    with inborn.enroll(ca.token, ca=ca.address, directory=tmp_path):
        pass
    before = (tmp_path / "identity").read_bytes()
    token = of_domain(ca.token, "other.org")
    token = dataclasses.replace(token, seed=b"s" * 32)
    with pytest.raises(WrongIdentity), inborn.enroll(token, ca=ca.address, directory=tmp_path):
        pass
    assert (tmp_path / "identity").read_bytes() == before


async def test_an_expired_identity_needs_a_new_token_and_gets_in_with_it(member: Member) -> None:
    async with member.running() as running:
        first = running.svid
    store = IdentityStore(member.directory)
    record = store.load()
    assert record is not None
    expired = member.ca.authority.svid(first.spiffe_id, ttl=dt.timedelta(seconds=-1))
    store.save(dataclasses.replace(record, svid=expired))
    if member.kind == "daemon":  # an agent waits for a token
        with pytest.raises(NoIdentity, match="no identity that has not expired: there is no join token"):
            async with member.running(token=False):
                pass
    member.ca.new_token()
    async with member.running() as running:
        assert running.svid.facts.not_after > dt.datetime.now(dt.UTC)
    assert len(member.ca.enrolled) == 2
