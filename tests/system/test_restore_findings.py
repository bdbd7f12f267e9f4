"""A CA is restored from a backup while a real agent goes on: what the agent still knows comes back by itself."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn_ca.signer.restore import restore
from inborn_ca.store.interface import CertificateFilter
from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine
from tests.rigs.front_rig import Rig, now, running_ca

PASSPHRASE = b"correct horse battery"
WEB = "spiffe://example.org/web"
LIFE = dt.timedelta(seconds=16)  # renewed after about eight


async def until(rig: Rig, condition: Callable[[], Any], what: str) -> Any:
    """Looked at with every change that the CA commits."""
    changed = asyncio.Event()
    rig.signer.state.on_committed.append(lambda changes: changed.set())
    async with asyncio.timeout(30):
        while not (found := condition()):
            changed.clear()
            await changed.wait()
    assert found, what
    return found


@pytest.mark.slow
async def test_denials_and_the_agent_itself_come_back_after_a_restore(
    tmp_path: Path, machines: Callable[..., Machine]
) -> None:
    node, backup = machines("node"), tmp_path / "backup.db"
    async with running_ca(tmp_path / "one", agent=LIFE, agent_renewal=LIFE / 2) as rig:
        token = (await rig.admin("CreateToken", admin_pb2.CreateTokenRequest(name="node"))).token
        await asyncio.to_thread(node.start_agent, str(rig.settings.bootstrap), token)
        agent = rig.signer.feeds.connected[0]
        of_agent = CertificateFilter(spiffe_id=parse_spiffe_id(agent))
        await rig.admin("Backup", admin_pb2.BackupRequest(path=str(backup), passphrase=PASSPHRASE))
        seq = (await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=WEB))).revocation_seq
        waited = await rig.admin("GetPropagation", admin_pb2.PropagationRequest(revocation_seq=seq, wait_ms=10_000))
        assert waited.applied == 1
        reader, settings = rig.signer.state.store.reader(), rig.settings
        await until(rig, lambda: len(reader.ledger.select(of_agent)) == 2, "the agent has renewed")
        renewed = reader.ledger.select(of_agent)[-1]
    restore(backup, tmp_path / "two" / "ca", passphrase=PASSPHRASE, clock=now)
    async with running_ca(tmp_path / "two", settings=settings, agent=LIFE, agent_renewal=LIFE / 2) as rig:
        reader = rig.signer.state.store.reader()
        await until(rig, lambda: len(reader.findings.page(accepted=True)) == 2, "the agent has reported")
        found = (await rig.admin("ListFindings", admin_pb2.ListFindingsRequest(all=True))).findings
        assert {(f.kind, f.subject) for f in found} == {
            ("revocation", f"id:{WEB}"),
            ("certificate", renewed.serial.hex()),
        }
        assert [block.target for block in reader.blocks.all()] == [f"id:{WEB}"]
        assert reader.ledger.get(renewed.serial) is None
        number = next(f.id for f in found if f.kind == "certificate")
        await rig.admin("AcceptFinding", admin_pb2.AcceptFindingRequest(id=number))
        await until(rig, lambda: reader.ledger.select(of_agent)[-1].serial > renewed.serial, "the agent renews")
        assert [alarm.kind for alarm in reader.audit.alarms()] == ["restore.findings"]
