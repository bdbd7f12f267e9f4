"""An identity that is kept good, of an agent and of a daemon: what happens to its files, its CA and its clock."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from inborn._internal.host.files import write_sealed
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import UnauthenticatedError, UnavailableError
from inborn.testing import MemoryAuthority
from inborn_member.authority_client import AuthorityClient
from inborn_member.enrolled import Enrolled
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.own_identity import OwnIdentity
from inborn_member.way_in import EnrollingKeys, NoEvidence, WrongIdentity
from tests.inborn_member.fixtures_member import WAIT, Member
from tests.rigs.fixtures_spoken_ca import SpokenAuthority

NOW = dt.datetime.now(dt.UTC)


def keys(csrs: list[bytes]) -> list[bytes]:
    return [key_sha256(x509.load_der_x509_csr(csr).public_key()) for csr in csrs]


async def asked(ca: SpokenAuthority, count: int) -> None:
    """Until the CA has been asked to renew so often."""
    async with asyncio.timeout(WAIT):
        while len(ca.renewed) < count:
            await asyncio.sleep(0.01)


def removed(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_form(path: Path) -> None:
    write_sealed(path, b'{"key": 1, "reserved": "x"}')


@pytest.mark.parametrize("damage", [removed, cut_off, emptied, of_another_form])
async def test_a_member_that_lost_its_numbers_goes_on(member: Member, damage: Callable[[Path], None]) -> None:
    async with member.running() as running:
        first = running.svid
        member.ca.lose_replies = 1000
        running.rotate()
        await asked(member.ca, 1)  # the key has asked, and goes on being the member's own
    member.ca.lose_replies = 0
    damage(member.directory / "numbers")
    async with member.running(token=False) as running:
        assert running.svid.leaf == first.leaf
        await running.renewed()
    assert member.ca.refused == []
    assert member.ca.numbers == sorted(set(member.ca.numbers))


async def test_a_member_whose_numbers_are_there_goes_on_with_them(member: Member) -> None:
    async with member.running() as running:
        member.ca.lose_replies = 1000
        running.rotate()
        await asked(member.ca, 2)
    reserved = member.kept("numbers")
    member.ca.lose_replies = 0
    async with member.running(token=False) as running:
        await running.renewed()
    assert reserved is not None
    assert member.ca.refused == []


def garbage(path: Path, purpose: str) -> None:
    path.write_bytes(b"garbage")


def no_key(path: Path, purpose: str) -> None:
    write_sealed(path, b'{"for": "%s", "key": "AAAA"}' % purpose.encode())


def no_object(path: Path, purpose: str) -> None:
    write_sealed(path, b"[]")


@pytest.mark.parametrize("damage", [garbage, no_key, no_object])
async def test_a_corrupt_next_key_is_set_aside_and_the_member_goes_on(
    member: Member, damage: Callable[[Path, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with member.running() as running:
        purpose = key_sha256(running.svid.private_key.public_key()).hex()
    damage(member.directory / "successor", purpose)
    with caplog.at_level(logging.WARNING, "inborn"):
        async with member.running(token=False) as running:
            await running.renewed()
    assert (member.directory / "successor.corrupt").exists()
    assert "set_aside" in caplog.text


async def test_a_corrupt_identity_is_set_aside_and_a_token_enrolls_anew(member: Member) -> None:
    async with member.running() as running:
        first = running.svid
    (member.directory / "identity").write_bytes(b"garbage")
    async with member.running() as running:
        assert running.svid.leaf != first.leaf
    assert (member.directory / "identity.corrupt").read_bytes() == b"garbage"


async def test_a_lost_reply_is_asked_for_again_with_the_same_successor_after_a_restart(member: Member) -> None:
    async with member.running() as running:
        member.ca.lose_replies = 1000
        running.rotate()
        await asked(member.ca, 1)
    member.ca.lose_replies = 0
    async with member.running(token=False) as running:
        renewed = await running.renewed()
    assert set(keys(member.ca.renewed)) == {key_sha256(renewed.private_key.public_key())}
    assert member.ca.refused == []
    assert member.kept("successor") is None


async def test_what_cannot_be_kept_is_not_used_and_is_asked_for_again_with_the_same_successor(member: Member) -> None:
    async with member.running() as running:
        first = running.svid
        with member.nothing_can_be_kept("identity"):
            running.rotate()
            await asked(member.ca, 2)
            assert running.svid.leaf == first.leaf
        await running.until(lambda s: s.svids[0].leaf != first.leaf)
    assert len(set(keys(member.ca.renewed))) == 1
    assert member.ca.refused == []


async def test_a_renewal_goes_on_with_its_successor_when_the_ca_has_moved(member: Member, tmp_path: Path) -> None:
    async with member.running() as running:
        member.ca.lose_replies = 1000
        running.rotate()
        await asked(member.ca, 1)
        member.ca.stop()
        member.ca.api_port, member.ca.lose_replies = 0, 0
        member.ca.start()
    store = IdentityStore(member.directory)
    kept = store.load()
    assert kept is not None
    own = OwnIdentity(
        member.kind,
        kept.trust_domain,
        store,
        Way([]),
        revocations=RevocationSet(),
        record=kept,
        ca=member.ca.address,
    )
    await own.relocate()
    running_task = asyncio.create_task(own.run())
    own.rotate()
    try:
        async with asyncio.timeout(WAIT):
            while own.svid is kept.svid:
                await asyncio.sleep(0.01)
    finally:
        running_task.cancel()
        await asyncio.gather(running_task, return_exceptions=True)
        await own.close()
    again = store.load()
    assert again is not None
    assert again.api_address == f"127.0.0.1:{member.ca.api_port}" != kept.api_address
    assert len(set(keys(member.ca.renewed))) == 1
    assert member.ca.refused == []


# The identity by itself: evidence and a clock of the test's.


class Way:
    """Gives what a test has put in; then there is no evidence."""

    def __init__(self, outcomes: list[Enrolled | Exception]) -> None:
        self.outcomes = outcomes
        self.former: list[SpiffeId | None] = []
        self.used_up: list[bytes] = []

    async def enroll(self, keys: EnrollingKeys, former: SpiffeId | None) -> Enrolled:
        self.former.append(former)
        if not self.outcomes:
            raise NoEvidence("nothing is left")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def used(self, evidence: bytes) -> None:
        self.used_up.append(evidence)


def enrolled(authority: MemoryAuthority, *, evidence: bytes = b"e" * 16) -> Enrolled:
    return Enrolled(
        svid=authority.svid("spiffe://example.org/x"),
        bundle=authority.bundle,
        api_address="127.0.0.1:1",
        log_id=b"l" * 16,
        evidence=evidence,
    )


def identity(
    authority: MemoryAuthority,
    directory: Path,
    way: Way,
    *,
    revocations: RevocationSet | None = None,
    clock: Callable[[], dt.datetime] = lambda: NOW,
    longest_life: dt.timedelta | None = None,
) -> OwnIdentity:
    store = IdentityStore(directory)
    return OwnIdentity(
        "daemon",
        authority.trust_domain,
        store,
        way,
        revocations=revocations if revocations is not None else RevocationSet(),
        record=store.load(),
        clock=clock,
        longest_life=longest_life,
    )


async def test_evidence_is_used_up_when_what_came_of_it_is_kept(authority: MemoryAuthority, tmp_path: Path) -> None:
    way = Way([enrolled(authority), enrolled(authority)])
    own = identity(authority, tmp_path, way)
    (tmp_path / ".identity.new").mkdir()
    with pytest.raises(UnavailableError):
        await own.enroll()
    assert (way.used_up, own.svid, own.source.snapshot().svids) == ([], None, ())
    os.rmdir(tmp_path / ".identity.new")
    await own.enroll()
    kept = IdentityStore(tmp_path).load()
    assert kept is not None
    assert (way.used_up, kept.evidence) == ([b"e" * 16], b"e" * 16)
    await own.close()


async def test_a_first_enrollment_that_is_refused_ends_it_and_a_later_one_does_not(
    authority: MemoryAuthority, tmp_path: Path
) -> None:
    own = identity(authority, tmp_path, Way([WrongIdentity("not yours")]))
    with pytest.raises(WrongIdentity):
        await own.run()
    later = NOW + dt.timedelta(days=40)
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    way = Way([WrongIdentity("not yours")])
    own = identity(authority, tmp_path, way, clock=lambda: later)
    running = asyncio.create_task(own.run())
    async with asyncio.timeout(WAIT):
        while not way.former:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not running.done()
    assert [str(former) for former in way.former] == ["spiffe://example.org/x"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await own.close()


async def test_a_clock_that_was_set_ahead_ends_the_identity_only_until_it_is_set_right(
    authority: MemoryAuthority, tmp_path: Path
) -> None:
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    now = [NOW + dt.timedelta(days=40)]
    own = identity(authority, tmp_path, Way([]), clock=lambda: now[0])
    assert (own.is_usable, own.is_expired) == (False, True)
    now[0] = NOW
    assert (own.is_usable, own.is_expired) == (True, False)
    await own.close()


async def test_a_certificate_that_is_not_valid_yet_stays_and_is_complained_of(
    authority: MemoryAuthority, tmp_path: Path
) -> None:
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    own = identity(authority, tmp_path, Way([]), clock=lambda: NOW - dt.timedelta(days=40))
    (complaint,) = own.complaints()
    assert complaint.startswith("its own certificate is valid from ")
    assert own.is_usable
    assert len(own.source.snapshot().svids) == 1
    await own.close()


async def test_a_revoked_certificate_is_presented_to_nobody_and_channels_stay_otherwise(
    authority: MemoryAuthority, tmp_path: Path
) -> None:
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    revocations = RevocationSet()
    own = identity(authority, tmp_path, Way([]), revocations=revocations)
    standing: list[bool] = []
    own.on_standing = lambda: standing.append(own.is_revoked)
    before = own.source.snapshot()
    told: list[object] = []
    own.source.subscribe(told.append)
    own.trust(authority.bundle, b"m" * 16)
    after = own.source.snapshot()
    assert len(told) == 1  # open connections are looked at
    assert after.svids is before.svids
    assert after.bundles is before.bundles
    assert standing == []
    assert own.svid is not None
    revocations.apply_snapshot(b"m" * 16, 1, [authority.revoke(own.svid)])
    own.trust(None, b"m" * 16)
    assert own.source.snapshot().svids == ()
    assert "own certificate is revoked by" in own.source.snapshot().reason
    assert standing == [True]
    assert own.complaints()[0].startswith("its own certificate is revoked")
    await own.close()


async def test_roots_of_the_feed_are_kept_and_do_not_end_a_renewal(authority: MemoryAuthority, tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.save(IdentityRecord.of(enrolled(authority)))
    own = identity(authority, tmp_path, Way([]))
    assert own.svid is not None
    successor = store.successor(own.svid)
    other = MemoryAuthority("example.org").bundle
    own.trust(other, b"m" * 16)
    await own.keep_bundle()
    kept = store.load()
    assert kept is not None
    assert (kept.bundle, kept.log_id) == (other, b"l" * 16)
    assert store.successor(own.svid).private_numbers() == successor.private_numbers()
    await own.close()


async def test_an_enrollment_brings_the_bundle_that_its_evidence_vouches_for(
    authority: MemoryAuthority, tmp_path: Path
) -> None:
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    replaced = MemoryAuthority("example.org")
    own = identity(authority, tmp_path, Way([enrolled(replaced)]))
    await own.enroll()
    assert own.source.snapshot().bundles[authority.trust_domain] == replaced.bundle
    await own.close()


async def test_a_member_that_is_refused_does_not_flood_its_ca(
    authority: MemoryAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without evidence it can do nothing but ask again: once when it is refused, then as its schedule says, however
    often a stream tells it so."""
    IdentityStore(tmp_path).save(IdentityRecord.of(enrolled(authority)))
    asked_at, way = [], Way([])

    async def refuse(self: AuthorityClient, *args: object) -> Enrolled:
        asked_at.append(now[0])
        raise UnauthenticatedError("its agent was evicted")

    monkeypatch.setattr(AuthorityClient, "renew", refuse)
    now = [NOW]
    own = identity(authority, tmp_path, way, clock=lambda: now[0])
    running = asyncio.create_task(own.run())

    async def looked_for_evidence(times: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(way.former) < times:
                await asyncio.sleep(0.01)

    own.refused(UnauthenticatedError("said the feed"))
    await looked_for_evidence(1)
    for _ in range(200):
        own.refused(UnauthenticatedError("said the feed"))
        await asyncio.sleep(0.001)
    assert (len(asked_at), len(way.former)) == (1, 1)
    now[0] += dt.timedelta(seconds=1)  # the first pause is a quarter of a second
    await looked_for_evidence(2)
    assert len(asked_at) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await own.close()
