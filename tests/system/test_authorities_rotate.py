"""The issuing authority is replaced every few seconds, under traffic: peers notice nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import SELECTOR, Machine, Only, echo, spiffe_id, wait_for_paths
from tests.rigs.front_rig import running_ca

LIFE = dt.timedelta(seconds=2)
SHORT = {
    "workload_min": dt.timedelta(seconds=1),
    "workload_default": LIFE,
    "workload_max": LIFE,
    "agent": LIFE,
    "agent_renewal": LIFE / 2,
    "daemon": LIFE,
    "daemon_max": LIFE,
    "front": LIFE,
    "log": LIFE,
    "health": LIFE,
    "issuing": 6 * LIFE,
    "crl_issuing": 5 * LIFE,
}


@pytest.mark.slow
async def test_issuing_authorities_follow_each_other_under_traffic_without_one_failed_handshake(
    tmp_path: Path, machines: Callable[..., Machine]
) -> None:
    """Everything lives for two seconds: workloads', agent's, front's and log's certificates, and CRLs for ten."""
    node = machines("node")
    async with running_ca(tmp_path, **SHORT) as rig:
        token = (await rig.admin("CreateToken", admin_pb2.CreateTokenRequest(name="node"))).token
        await asyncio.to_thread(node.start_agent, str(rig.settings.bootstrap), token)
        for path in ("/server", "/client"):
            request = admin_pb2.CreateEntryRequest(
                spiffe_id=spiffe_id(path), selectors=[SELECTOR], node="name:node", ttl_seconds=2
            )
            await rig.admin("CreateEntry", request)
        with node.source(timeout=0) as source:
            await asyncio.to_thread(wait_for_paths, source, "/server", "/client")
            sides = Only(source, "/server"), Only(source, "/client")
            authorities: set[bytes] = set()
            requests = 0
            async with echo(*sides, server_path="/server", client_path="/client") as served:
                deadline = time.monotonic() + 60
                while len(authorities) < 3:
                    assert time.monotonic() < deadline, f"{len(authorities)} authorities in a minute"
                    await asyncio.gather(*(served.request() for _ in range(2)))
                    requests += 2
                    snapshot = sides[0].snapshot()
                    authority = snapshot.svids[0].facts.authority
                    authorities.add(authority)
                    crl_is_current(snapshot.crls, authority)
        assert requests > 100
        assert len(served.presented) > 10
        states = [a.state for a in (await rig.admin("GetStatus", admin_pb2.StatusRequest())).authorities]
        assert states.count("active") == 1
        assert not (await rig.admin("ListAlarms", admin_pb2.ListAlarmsRequest())).alarms


def crl_is_current(crls: tuple[bytes, ...], authority: bytes) -> None:
    """What nginx and others demand before they let anybody in whose certificate this authority has signed."""
    now = dt.datetime.now(dt.UTC)
    for crl in map(x509.load_der_x509_crl, crls):
        issuer = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        if issuer == authority:
            assert crl.last_update_utc <= now
            assert crl.next_update_utc is not None
            assert crl.next_update_utc > now
            return
    raise AssertionError(f"no CRL of the authority that signs, {authority.hex()}")
