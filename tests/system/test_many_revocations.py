"""A CA with more revocations than one message holds: it starts, agents join, and the next revocation arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn_proto import admin_pb2
from tests.rigs.fixtures_ca import FakeClock, open_bench, revoke_many
from tests.rigs.fixtures_up import SELECTOR, Machine, spiffe_id, wait_for_snapshot
from tests.rigs.front_rig import now, running_ca

SERIALS, KEYS = 250_000, 20_000
STEP = 10_000


@pytest.mark.slow
async def test_more_revocations_than_a_message_holds_are_known_everywhere(
    tmp_path: Path, machines: Callable[..., Machine]
) -> None:
    ca = open_bench(tmp_path / "ca", FakeClock(now()))
    for kind, count in ((RevocationKind.SERIAL, SERIALS), (RevocationKind.KEY, KEYS)):
        for _ in range(count // STEP):
            revoke_many(ca, kind, STEP)
    ca.state.store.close()
    node = machines("node")
    async with running_ca(tmp_path) as rig:
        token = (await rig.admin("CreateToken", admin_pb2.CreateTokenRequest(name="node"))).token
        await asyncio.to_thread(node.start_agent, str(rig.settings.bootstrap), token)
        entry = admin_pb2.CreateEntryRequest(
            spiffe_id=spiffe_id("/web"), selectors=[SELECTOR], node="name:node", ttl_seconds=300
        )
        await rig.admin("CreateEntry", entry)
        with node.source(timeout=0) as source:
            await asyncio.to_thread(
                wait_for_snapshot,
                source,
                lambda s: bool(s.svids) and len(s.revocations) == SERIALS + KEYS,
                "an identity and all revocations",
            )
            await rig.admin("Revoke", admin_pb2.RevokeRequest(spiffe_id=spiffe_id("/gone")))
            await asyncio.to_thread(
                wait_for_snapshot, source, lambda s: s.revocations.seq == SERIALS + KEYS + 1, "one more"
            )
