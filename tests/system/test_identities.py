"""Identities through the whole program: they rotate under traffic, expire, and are revoked on open connections."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time

import pytest

from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Echo, Machine, Only, echo, say, spiffe_id, wait_for_paths, wait_for_snapshot

ENDED = (OSError, ssl.SSLError, EOFError)  # what a program sees of a connection that is refused or ended


async def until_ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    """Wait until an idle connection is ended by the other side or by ours; gives the time."""
    try:
        assert await asyncio.wait_for(reader.read(1), 20) == b""
    except ENDED:
        pass
    ended = time.monotonic()
    writer.close()
    return ended


async def test_identities_rotate_every_second_under_traffic_without_one_failed_request(machine: Machine) -> None:
    for path in ("/server", "/client"):
        machine.entry(path, ttl_seconds=2)
    with machine.source() as source:
        wait_for_paths(source, "/server", "/client")
        sides = Only(source, "/server"), Only(source, "/client")
        async with echo(*sides, server_path="/server", client_path="/client") as served:
            requests = await traffic(served, certificates=6)
    assert requests > 20


async def traffic(served: Echo, *, certificates: int, seconds: float = 40.0) -> int:
    """Requests on connections of their own, four at a time, until the server has shown so many certificates."""
    deadline = time.monotonic() + seconds
    count = 0

    async def ask() -> None:
        nonlocal count
        while len(served.presented) < certificates:
            assert time.monotonic() < deadline, f"{len(served.presented)} certificates in {seconds:g} s"
            await served.request()
            count += 1

    await asyncio.gather(*(ask() for _ in range(4)))
    return count


async def test_revoked_peer_is_refused_on_the_open_connection_and_on_new_ones_and_bystanders_are_not(
    machine: Machine,
) -> None:
    for path in ("/server", "/client", "/bystander"):
        machine.entry(path)
    with machine.source() as source:
        wait_for_paths(source, "/server", "/client", "/bystander")
        server = Only(source, "/server")
        async with (
            echo(server, Only(source, "/client"), server_path="/server", client_path="/client") as served,
            echo(server, Only(source, "/bystander"), server_path="/server", client_path="/bystander") as other,
        ):
            bystander = await other.connect()
            await say(*bystander)
            connection = await served.connect()
            await say(*connection)
            refused = asyncio.create_task(until_ended(*connection))
            answer = await asyncio.to_thread(machine.revoke, "/client")
            returned = time.monotonic()
            assert answer.blocked
            assert answer.certificates == 1
            late = await refused - returned
            assert late < 2.0, f"refused {late * 1000:.0f} ms after revoke returned"
            await asyncio.to_thread(machine.wait_applied, answer.revocation_seq)
            wait_for_paths(source, "/server", "/bystander")
            with pytest.raises(ENDED):
                await served.request()
            await say(*bystander)
            bystander[1].close()


async def test_revoked_identity_comes_back_when_it_is_unblocked_and_its_old_certificate_stays_dead(
    machine: Machine,
) -> None:
    machine.entry("/web")
    with machine.source() as source:
        wait_for_paths(source, "/web")
        old = source.svid
        machine.revoke("/web")
        wait_for_paths(source)
        machine.ask("Unblock", admin_pb2.UnblockRequest(target=f"id:{spiffe_id('/web')}"))
        wait_for_paths(source, "/web")
        revocations = source.snapshot().revocations
        assert revocations.find(old.facts) is not None
        assert revocations.find(source.svid.facts) is None
        assert source.svid.facts.key_hash != old.facts.key_hash


async def test_suspected_key_is_replaced_at_once_and_the_service_goes_on(machine: Machine) -> None:
    """`revoke --reissue`: what exists is dead, whoever is attested still gets a new certificate for a new key."""
    for path in ("/server", "/client"):
        machine.entry(path)
    with machine.source() as source:
        wait_for_paths(source, "/server", "/client")
        sides = Only(source, "/server"), Only(source, "/client")
        async with echo(*sides, server_path="/server", client_path="/client") as served:
            await served.request()
            old = sides[0].svid.facts
            await asyncio.to_thread(machine.revoke, "/server", reissue=True)
            await asyncio.to_thread(
                wait_for_snapshot,
                sides[0],
                lambda s: (
                    bool(s.svids) and s.svids[0].facts.serial != old.serial and s.revocations.find(old) is not None
                ),
                "another certificate, and the old one dead",
            )
            new = sides[0].svid.facts
            assert new.key_hash != old.key_hash
            revocations = source.snapshot().revocations
            assert revocations.find(new) is None
            await served.request()


async def test_peer_whose_certificate_has_expired_is_refused_on_the_open_connection(machine: Machine) -> None:
    machine.entry("/server")
    entry = machine.entry("/client", ttl_seconds=3)
    with machine.source() as source:
        wait_for_paths(source, "/server", "/client")
        sides = Only(source, "/server"), Only(source, "/client")
        async with echo(*sides, server_path="/server", client_path="/client") as served:
            reader, writer = await served.connect()
            await say(reader, writer)
            shown = sides[1].svid.facts.not_after
            machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=entry))
            wait_for_snapshot(source, lambda s: len(s.svids) == 1, "the entry's identity is gone")
            await say(reader, writer)  # nobody has revoked it
            await until_ended(reader, writer)
            late = (dt.datetime.now(dt.UTC) - shown).total_seconds()
            assert 0 <= late < 1.5
