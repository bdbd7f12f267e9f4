"""Two CAs on one database, in turns: each has its own authority and its own serials, both have one log."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.x509_svid import load_certificate, read_certificate
from inborn.errors import DeniedError, InternalError
from inborn_ca.authorities.authority_life import key_id
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.signer.commands.authority_order import read_order
from inborn_ca.signer.maintenance import Maintenance
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.state import SignerState
from inborn_proto import feed_pb2
from tests.rigs.fixtures_ca import CaBench, Holder

DAYS = 60


@pytest.fixture
def two(ca_bench: CaBench, tmp_path: Path) -> Iterator[tuple[CaBench, CaBench]]:
    """The second has the root's key, and none of the first one's."""
    first = ca_bench.state
    root = first.roots[0].key_id
    keys = KeyStore(tmp_path / "other" / "keys")
    shutil.copy(next((tmp_path / "ca" / "keys").glob(f"*{root.hex()}*")), tmp_path / "other" / "keys")
    with first.store.transaction() as tx:
        tx.authorities.add_ca("second", ca_bench.clock())
    state = SignerState(
        store=first.store,
        keys=keys,
        clock=ca_bench.clock,
        lifetimes=Lifetimes(),
        trust_domain=first.trust_domain,
        ca_id="second",
        log_id=first.log_id,
    )
    second = CaBench(state=state, clock=ca_bench.clock, directory=tmp_path / "other")
    yield turn(ca_bench), second
    second.state.store.close()


def turn(ca: CaBench) -> CaBench:
    """It takes over from the other."""
    ca.state.reload()
    return ca


def actives(ca: CaBench) -> dict[str, bytes]:
    return {a.ca_id: a.key_id for a in ca.reader.authorities.all() if a.state is AuthorityState.ACTIVE}


def serial(ca: CaBench, agent: Holder, entry: str) -> bytes:
    return read_certificate(ca.issue(agent, entry)).serial


def test_neither_retires_the_others_authority(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    assert set(actives(one)) == {one.state.ca_id, "second"}
    assert turn(one).state.active.key_id != turn(other).state.active.key_id
    before = actives(one)
    one.run_due()
    other.run_due()
    assert actives(one) == before


def test_each_rotates_its_own(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    before = actives(one)
    one.clock.advance(days=DAYS * 0.9)
    turn(one).run_due()
    assert actives(one)["second"] == before["second"]
    one.run_due()
    after_one = actives(one)
    assert after_one[one.state.ca_id] != before[one.state.ca_id]
    assert after_one["second"] == before["second"]
    for _ in range(2):
        turn(other).run_due()
    after_both = actives(one)
    assert after_both[one.state.ca_id] == after_one[one.state.ca_id]
    assert after_both["second"] != before["second"]


def test_serials_are_unique_and_rise_in_each_ca_whatever_the_others_clock_did(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    agent, entry = one.enroll(), one.create_entry()
    mine, theirs = [], []
    for _ in range(3):
        mine.append(serial(turn(one), agent, entry.id))
        one.clock.advance(seconds=-40)
        theirs.append(serial(turn(other), agent, entry.id))
    assert mine == sorted(set(mine))
    assert theirs == sorted(set(theirs))
    assert not set(mine) & set(theirs)
    states = one.reader.authorities.serial_states()
    assert states == {one.state.ca_id: one.state.serials.state, "second": other.state.serials.state}


def test_a_cut_off_covers_what_both_have_issued_and_nothing_that_they_will(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    agent, entry = one.enroll(), one.create_entry()
    old = [one.issue(agent, entry.id), turn(other).issue(agent, entry.id)]
    turn(one).revoke(spiffe_id="spiffe://example.org/web", reissue=True)
    (revocation,) = [r for r in one.reader.revocations.log() if r.kind is RevocationKind.SPIFFE_ID]
    assert set(revocation.cut_offs) == set(actives(one).values())
    new = [one.issue(agent, entry.id), turn(other).issue(agent, entry.id)]
    for ca in (turn(one), turn(other)):
        assert all(ca.is_revoked(certificate) for certificate in old)
        assert not any(ca.is_revoked(certificate) for certificate in new)


def test_a_cut_off_covers_an_authority_that_the_other_has_activated_meanwhile(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    agent, entry = one.enroll(), one.create_entry()
    turn(other).run(other.authorities.replace_issuing(activate=True))
    certificate = other.issue(agent, entry.id)
    one.revoke(spiffe_id="spiffe://example.org/web", reissue=True)  # it has not looked since
    assert turn(one).is_revoked(certificate)


def test_a_block_of_one_stops_the_other(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    agent, entry = one.enroll(), one.create_entry()
    one.revoke(spiffe_id="spiffe://example.org/web")
    with pytest.raises(DeniedError, match="is blocked"):
        turn(other).issue(agent, entry.id)


def test_revisions_and_the_log_are_the_databases(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    one.create_entry()
    other.create_entry("/db", selectors=["unix:uid:2"])  # it has not looked since
    assert other.state.entry_revision == one.state.entry_revision + 1
    seqs = []
    for ca, path in ((one, "/a"), (other, "/b")):
        agent, entry = turn(ca).enroll(), ca.create_entry(path)
        seqs.append(ca.revoke(serial=serial(ca, agent, entry.id).hex()).revocation_seq)
    assert seqs == [1, 2]
    assert turn(one).state.domain_revision == other.state.domain_revision


def told_authorities(ca: CaBench) -> set[bytes]:
    body = feed_pb2.FeedBody.FromString(ca.feeds.domain_snapshot()[0].body)
    active = [a for a in body.domain.authorities if a.state == feed_pb2.AuthorityState.ACTIVE]
    return {key_id(load_certificate(a.certificate)) for a in active}


def test_a_feed_shows_the_authorities_of_both(two: tuple[CaBench, CaBench]) -> None:
    for ca in two:
        assert told_authorities(turn(ca)) == set(actives(ca).values())


def test_a_snapshot_is_made_anew_when_the_other_has_changed_the_domain(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    before = told_authorities(turn(one))
    turn(other).run(other.authorities.replace_issuing(activate=True))
    assert told_authorities(turn(one)) == set(actives(one).values()) != before


def test_an_order_for_the_others_authority_waits_for_the_other(two: tuple[CaBench, CaBench]) -> None:
    one, _ = two
    authority = actives(one)["second"]
    turn(one).revoke(authority=authority.hex())
    assert read_order(one.reader, one.state.ca_id) is None
    order = read_order(one.reader, "second")
    assert order is not None
    assert order.authority == authority


def test_a_ca_that_the_database_does_not_know_signs_nothing(ca_bench: CaBench) -> None:
    with pytest.raises(InternalError, match="does not know CA stranger"):
        SignerState(
            store=ca_bench.state.store,
            keys=ca_bench.state.keys,
            clock=ca_bench.clock,
            lifetimes=Lifetimes(),
            trust_domain=ca_bench.state.trust_domain,
            ca_id="stranger",
            log_id=ca_bench.state.log_id,
        )


def listed(ca: CaBench) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(ca.state.active.crl)}


async def maintained(ca: CaBench, is_done: Callable[[], bool]) -> None:
    """Until it is done, what the signer's process does beside answering."""
    maintenance = Maintenance(
        ca.state, ca.queue, ca.feeds, ca.authorities, Propagation(ca.clock), ca.state.store.reader()
    )
    done = asyncio.Event()
    ca.state.on_committed.append(lambda changes: done.set() if is_done() else None)
    task = asyncio.create_task(maintenance.run())
    async with asyncio.timeout(30):
        await done.wait()
    task.cancel()


def test_a_crl_lists_what_the_other_has_revoked_once_its_own_ca_runs(two: tuple[CaBench, CaBench]) -> None:
    one, other = two
    agent, entry = one.enroll(), one.create_entry()
    theirs = turn(other).issue(agent, entry.id)
    turn(one).revoke(spiffe_id="spiffe://example.org/web")
    one.clock.advance(seconds=5)
    turn(other).run(other.authorities.renew_crls(other.authorities.crls_due(), lambda key_id: []))
    assert listed(other) == set()
    one.clock.advance(seconds=5)
    asyncio.run(maintained(other, lambda: listed(other) == {theirs.serial_number}))
    assert one.state.active.key_id != other.state.active.key_id
