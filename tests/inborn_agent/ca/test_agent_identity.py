"""The agent's own identity against a real CA: enrolled, renewed, and what happens when a key has two holders."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from inborn._internal.host import paths
from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError
from inborn_agent.ca.agent_identity import agent_identity
from inborn_agent.ca.joining import AdminJoiner, NoJoiner
from inborn_member.evidence_way_in import EvidenceSupply
from inborn_member.identity_store import IdentityStore
from inborn_member.own_identity import OwnIdentity
from inborn_proto import admin_pb2
from tests.inborn_agent.fixtures_agent import PATIENCE, Rig


@pytest.fixture
def rig_with_ca(rig: Rig) -> Rig:
    rig.start_ca()
    return rig


def public(svid: X509Svid) -> bytes:
    return svid.private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@asynccontextmanager
async def running(directory: Path, joiner: EvidenceSupply) -> AsyncIterator[OwnIdentity]:
    directory.mkdir(exist_ok=True)
    store = IdentityStore(directory)
    own = agent_identity(
        TrustDomain("example.org"), store, joiner, Metrics(), revocations=RevocationSet(), record=store.load()
    )
    task = asyncio.create_task(own.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await own.client()
        yield own
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await own.close()


async def renewed(own: OwnIdentity) -> X509Svid:
    """Have it renewed, and wait until it is."""
    changed = asyncio.Event()
    before = own.svid
    end = own.source.subscribe(lambda snapshot: changed.set())
    own.rotate()
    async with asyncio.timeout(PATIENCE):
        while own.svid is before:
            await changed.wait()
            changed.clear()
    end()
    assert own.svid is not None
    return own.svid


def joiner(rig: Rig) -> AdminJoiner:
    return AdminJoiner(paths.admin_socket(rig.data_dir))


async def test_an_agent_enrolls_and_renews_again_and_again_each_time_with_a_new_key(rig_with_ca: Rig) -> None:
    directory = rig_with_ca.directory / "own"
    async with running(directory, joiner(rig_with_ca)) as own:
        assert own.svid is not None
        seen = [own.svid, await renewed(own), await renewed(own)]
    assert len({public(svid) for svid in seen}) == 3
    assert {str(svid.spiffe_id) for svid in seen} == {str(seen[0].spiffe_id)}
    kept = IdentityStore(directory).load()
    assert kept is not None
    assert public(kept.svid) == public(seen[-1])
    assert not (directory / "successor").exists()


async def test_a_restarted_agent_goes_on_with_its_identity_and_without_a_token(rig_with_ca: Rig) -> None:
    directory = rig_with_ca.directory / "own"
    async with running(directory, joiner(rig_with_ca)) as own:
        first = await renewed(own)
    async with running(directory, NoJoiner()) as own:
        assert own.svid is not None
        assert public(own.svid) == public(first)
        await renewed(own)


async def test_an_agent_whose_clock_was_set_back_says_so(rig_with_ca: Rig) -> None:
    async with running(rig_with_ca.directory / "own", joiner(rig_with_ca)) as own:
        assert own.complaints() == []
        record, back = own.record, dt.datetime.now(dt.UTC) - dt.timedelta(days=40)
    late = agent_identity(
        TrustDomain("example.org"),
        IdentityStore(rig_with_ca.directory / "own"),
        NoJoiner(),
        Metrics(),
        revocations=RevocationSet(),
        record=record,
        clock=lambda: back,
    )
    (complaint,) = late.complaints()
    assert complaint.startswith("its own certificate is valid from ")
    await late.close()


async def test_a_lost_reply_is_asked_for_again_with_the_same_successor(rig_with_ca: Rig) -> None:
    directory = rig_with_ca.directory / "own"
    async with running(directory, joiner(rig_with_ca)) as own:
        assert own.svid is not None
        client = await own.client()
        successor = IdentityStore(directory).successor(own.svid)
        bundle = own.source.snapshot().bundles[own.trust_domain]
        lost = await client.renew(successor, bundle)  # and the answer never arrives
        again = await renewed(own)
    assert public(again) == public(lost.svid)
    assert again.facts.serial > lost.svid.facts.serial


async def test_a_copied_disk_stops_renewal_for_both_with_an_alarm(rig_with_ca: Rig) -> None:
    """Attack: somebody copies the agent's disk, and renews as the agent does."""
    directory, stolen = rig_with_ca.directory / "own", rig_with_ca.directory / "stolen"
    async with running(directory, joiner(rig_with_ca)):
        pass
    shutil.copytree(directory, stolen)
    async with running(directory, NoJoiner()) as own:
        rightful = await renewed(own)
        async with running(stolen, NoJoiner()) as thief:
            assert thief.svid is not None
            before = public(thief.svid)
            client = await thief.client()
            bundle = thief.source.snapshot().bundles[thief.trust_domain]
            with pytest.raises(DeniedError):
                await client.renew(IdentityStore(stolen).successor(thief.svid), bundle)
            assert public(thief.svid) == before
        client = await own.client()
        with pytest.raises(DeniedError):
            await client.renew(IdentityStore(directory).successor(rightful), bundle)
    alarms = rig_with_ca.admin("ListAlarms", admin_pb2.ListAlarmsRequest(), admin_pb2.ListAlarmsResponse).alarms
    assert any("two_holders" in alarm.kind for alarm in alarms)
