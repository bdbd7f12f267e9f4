"""An agent that comes with a certificate of another CA comes back by itself, as long as it may."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError
from inborn_agent.ca.agent_identity import agent_identity
from inborn_agent.ca.joining import CertificateJoiner
from inborn_member.identity_store import IdentityStore
from inborn_member.node_attestors.x509pop import CertificateFiles
from inborn_member.own_identity import OwnIdentity
from inborn_proto import admin_pb2
from tests.rigs.front_rig import Rig, running_ca
from tests.rigs.machine_ca import MachineCertificate

NOW = dt.datetime.now(dt.UTC)
PATIENCE = 30.0  # seconds, on a machine that is swamped


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_ca(tmp_path) as rig:
        yield rig


@pytest.fixture
async def root(rig: Rig) -> MachineCertificate:
    root = MachineCertificate.root(NOW)
    await rig.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem))
    return root


def write(directory: Path, rig: Rig, machine: MachineCertificate) -> CertificateFiles:
    files = CertificateFiles(
        certificate=directory / "host.pem", key=directory / "host.key", bundle=directory / "roots.pem"
    )
    files.certificate.write_bytes(machine.pem)
    files.key.touch(0o600)
    files.key.write_bytes(machine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert files.bundle is not None
    files.bundle.write_bytes(rig.roots_pem)
    return files


@asynccontextmanager
async def running(directory: Path, rig: Rig, files: CertificateFiles) -> AsyncIterator[OwnIdentity]:
    directory.mkdir(exist_ok=True)
    store = IdentityStore(directory)
    own = agent_identity(
        rig.signer.state.trust_domain,
        store,
        CertificateJoiner(files, str(rig.settings.bootstrap)),
        Metrics(),
        revocations=RevocationSet(),
        record=store.load(),
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


def svid_of(own: OwnIdentity) -> X509Svid:
    assert own.svid is not None
    return own.svid


async def another(own: OwnIdentity, before: X509Svid) -> X509Svid:
    """Have it renewed, and wait until it has another certificate, however it came by it."""
    changed = asyncio.Event()
    end = own.source.subscribe(lambda snapshot: changed.set())
    own.rotate()
    async with asyncio.timeout(PATIENCE):
        while own.svid is before:
            await changed.wait()
            changed.clear()
    end()
    return svid_of(own)


async def test_evicted_agent_enrolls_again_by_itself_with_a_new_key(
    rig: Rig, root: MachineCertificate, tmp_path: Path
) -> None:
    files = write(tmp_path, rig, root.leaf(NOW))
    async with running(tmp_path / "own", rig, files) as own:
        first = svid_of(own)
        await rig.admin("Revoke", admin_pb2.RevokeRequest(agent=str(first.spiffe_id), reissue=True))
        second = await another(own, first)
        assert second.spiffe_id == first.spiffe_id
        assert second.facts.key_hash != first.facts.key_hash
        await another(own, second)  # and it renews as ever
    rows = (await rig.admin("ListAudit", admin_pb2.ListAuditRequest())).rows
    actions = [row.action for row in rows]
    assert (actions.count("agent.enroll"), actions.count("agent.renew")) == (2, 1)


async def test_certificate_that_was_issued_anew_is_read_where_it_lies(
    rig: Rig, root: MachineCertificate, tmp_path: Path
) -> None:
    template = "x509pop/{{ .Subject.CommonName }}"
    await rig.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem, path_template=template))
    files = write(tmp_path, rig, root.leaf(NOW))
    async with running(tmp_path / "own", rig, files) as own:
        first = svid_of(own)
        write(tmp_path, rig, root.leaf(NOW))
        await rig.admin("Revoke", admin_pb2.RevokeRequest(agent=str(first.spiffe_id), reissue=True))
        second = await another(own, first)
    assert first.spiffe_id == second.spiffe_id
    assert second.spiffe_id.path == "/inborn/agent/x509pop/web1"


async def test_restarted_agent_does_not_need_its_certificate(
    rig: Rig, root: MachineCertificate, tmp_path: Path
) -> None:
    files = write(tmp_path, rig, root.leaf(NOW))
    async with running(tmp_path / "own", rig, files) as own:
        first = svid_of(own)
    files.key.unlink()
    async with running(tmp_path / "own", rig, files) as own:
        assert svid_of(own).facts == first.facts
        await another(own, svid_of(own))


async def test_banned_agent_is_refused_and_goes_on_asking_without_an_end(
    rig: Rig, root: MachineCertificate, tmp_path: Path
) -> None:
    files = write(tmp_path, rig, root.leaf(NOW))
    async with running(tmp_path / "own", rig, files) as own:
        first = svid_of(own)
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=str(first.spiffe_id)))
        client, bundle = await own.client(), own.source.snapshot().bundles[own.trust_domain]
        successor = IdentityStore(tmp_path / "own").successor(first)
        with pytest.raises(DeniedError) as caught:
            await client.renew(successor, bundle)
        own.refused(caught.value)
        last, said = 0, ""
        async with asyncio.timeout(PATIENCE):
            while "is banned" not in said:
                request = admin_pb2.ListAuditRequest(after_id=last, wait_ms=1000)
                for row in (await rig.admin("ListAudit", request)).rows:
                    last, said = row.id, row.detail if row.action == "enroll.denied" else said
        await rig.admin("Unblock", admin_pb2.UnblockRequest(target=f"node:{first.spiffe_id}"))
        assert (await another(own, first)).spiffe_id == first.spiffe_id
