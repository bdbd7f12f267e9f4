"""Restarts, crashes and a CA that is away: what the agent goes on serving, and what it does not."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from inborn._internal.host import paths
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_agent.disk.tmpfs import is_in_memory
from inborn_agent.settings import keys_directory, private_runtime_directory
from inborn_member.identity_store import IdentityStore
from inborn_proto import admin_pb2, agent_pb2
from tests.inborn_agent.fixtures_agent import PATIENCE, Rig
from tests.rigs.certificates import make_issuing, make_leaf, make_root


def needs_memory_for_keys(rig: Rig) -> None:
    if not is_in_memory(keys_directory(private_runtime_directory(rig.data_dir, {})).parent):
        pytest.skip("needs a tmpfs for keys")


async def serial(rig: Rig) -> bytes:
    message = await rig.fetch_once()
    return X509Svid.parse(message.svids[0].x509_svid, message.svids[0].x509_svid_key).facts.serial


async def refusal(rig: Rig) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.fetch_once()
    return caught.value.code()


async def test_a_killed_agent_serves_the_same_svid_at_once_also_while_the_ca_is_away(rig: Rig) -> None:
    ca, agent = rig.start_ca(), rig.start_agent()
    needs_memory_for_keys(rig)
    rig.create_entry()
    first = await serial(rig)
    ca.kill()
    assert await serial(rig) == first
    agent.kill()
    rig.start_agent()
    assert await serial(rig) == first


async def test_what_was_revoked_is_not_served_after_a_crash_while_the_ca_is_away(rig: Rig) -> None:
    ca, agent = rig.start_ca(), rig.start_agent()
    rig.create_entry()
    await serial(rig)
    assert not rig.propagation(rig.revoke()).laggards
    agent.kill()
    ca.kill()
    rig.start_agent()
    assert await refusal(rig) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_revocation_that_came_while_the_agent_was_down_is_applied_when_it_is_back(rig: Rig) -> None:
    rig.start_ca()
    agent = rig.start_agent()
    rig.create_entry()
    first = await serial(rig)
    agent.kill()
    rig.revoke(reissue=True)
    rig.start_agent()
    async with rig.channel() as channel:
        call = rig.fetch(channel)
        seen: list[Any] = []
        while not seen or seen[-1] == first:
            message = await call.read()
            seen.append(X509Svid.parse(message.svids[0].x509_svid, message.svids[0].x509_svid_key).facts.serial)
    assert seen[-1] > first


async def wait_for_identity(rig: Rig) -> None:
    async with rig.channel() as channel:
        stream = rig.local(channel).stream("Attend", agent_pb2.AttendResponse)
        await stream.send(agent_pb2.AttendRequest())
        async with asyncio.timeout(PATIENCE):
            while not (await anext(stream)).identities.identities:
                pass


async def test_an_agent_recovers_by_itself_when_the_ca_is_back(rig: Rig) -> None:
    ca = rig.start_ca()
    rig.start_agent()
    ca.kill()
    await asyncio.to_thread(rig.start_ca)
    rig.create_entry()
    await wait_for_identity(rig)


async def test_an_agent_that_was_never_enrolled_and_has_no_ca_does_not_pretend_to_know(rig: Rig) -> None:
    ca, agent = rig.start_ca(), rig.start_agent()
    agent.kill()
    ca.kill()
    (rig.data_dir / "agent" / "domain.cache").unlink(missing_ok=True)
    (rig.data_dir / "agent" / "node.cache").write_bytes(b"garbage")
    process = rig.start_agent()
    assert await refusal(rig) is grpc.StatusCode.UNAVAILABLE
    assert "cache.set_aside" in process.text()


async def test_sigterm_ends_streams_with_unavailable_and_the_agent_with_zero(rig: Rig) -> None:
    rig.start_ca()
    agent = rig.start_agent()
    rig.create_entry()
    async with rig.channel() as channel:
        call = rig.fetch(channel)
        await call.read()
        started = time.monotonic()
        assert await asyncio.to_thread(agent.terminate) == 0
        assert time.monotonic() - started < PATIENCE / 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not rig.socket.exists()


async def test_a_month_in_a_drawer(rig: Rig) -> None:
    rig.start_ca()
    rig.start_agent().terminate()
    store = IdentityStore(rig.data_dir / "agent")
    record = store.load()
    assert record is not None
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=40)
    root = make_root(now=then)
    old = make_leaf(make_issuing(root, now=then), str(record.svid.spiffe_id), now=then, life=dt.timedelta(days=7))
    store.save(dataclasses.replace(record, svid=old.svid(issued_at=then)))
    rig.start_agent()
    rig.create_entry()
    await wait_for_identity(rig)
    again = IdentityStore(rig.data_dir / "agent").load()
    assert again is not None
    assert again.svid.spiffe_id == record.svid.spiffe_id  # the same agent: its entries stay
    assert again.svid.facts.not_after > dt.datetime.now(dt.UTC)


def make_token(rig: Rig, **options: Any) -> admin_pb2.CreateTokenResponse:
    return rig.admin("CreateToken", admin_pb2.CreateTokenRequest(**options), admin_pb2.CreateTokenResponse)


async def test_a_second_machine_joins_with_a_token_file_and_needs_it_once(rig: Rig) -> None:
    rig.start_ca()
    token = make_token(rig, name="web1")
    path = rig.directory / "token"
    path.write_text(token.token)
    options = ("--ca", token.bootstrap_address, "--join-token-file", str(path))
    other = rig.directory / "e"
    rig.start_agent(*options, data_dir=other).terminate()
    path.unlink()
    rig.start_agent(*options, data_dir=other)
    agents = rig.admin("ListAgents", admin_pb2.ListAgentsRequest(), admin_pb2.ListAgentsResponse).agents
    assert [agent.name for agent in agents] == ["web1"]


def test_a_token_comes_over_standard_input(rig: Rig) -> None:
    rig.start_ca()
    token = make_token(rig)
    rig.admin("RevokeToken", admin_pb2.RevokeTokenRequest(id=token.info.id), admin_pb2.RevokeTokenResponse)
    ended = rig.run_agent("--ca", token.bootstrap_address, "--join-token-file", "-", stdin=token.token)
    assert ended.returncode == 1
    assert "error: " in ended.stderr
    assert "withdrawn" in ended.stderr
    assert token.token not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("text", ["", "inborn1-abc", "hello"])
def test_a_bad_token_is_one_clear_line(rig: Rig, text: str) -> None:
    ended = rig.run_agent("--ca", "127.0.0.1:1", "--join-token-file", "-", stdin=text)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: join token")
    assert "Traceback" not in ended.stderr


def test_a_daemons_token_makes_no_agent(rig: Rig) -> None:
    rig.start_ca()
    token = make_token(rig, spiffe_id="spiffe://example.org/db")
    ended = rig.run_agent("--ca", token.bootstrap_address, "--join-token-file", "-", stdin=token.token)
    assert ended.returncode == 1
    assert "no agent" in ended.stderr


def test_a_second_agent_on_the_same_directory_is_refused(rig: Rig) -> None:
    rig.start_ca()
    rig.start_agent()
    ended = rig.run_agent("--join-admin-socket", str(paths.admin_socket(rig.data_dir)))
    assert ended.returncode == 1
    assert "is in use by process" in ended.stderr


def test_no_secret_is_in_the_log(rig: Rig) -> None:
    rig.start_ca()
    token = make_token(rig)
    path = rig.directory / "token"
    path.write_text(token.token)
    agent = rig.start_agent(
        "--ca",
        token.bootstrap_address,
        "--join-token-file",
        str(path),
        "--log-level",
        "debug",
        data_dir=rig.directory / "e",
    )
    assert "agent.enrolled" in agent.text()
    assert token.token not in agent.text()
    assert "PRIVATE" not in agent.text()
    assert os.path.exists(rig.directory / "e" / "agent" / "identity")


async def rest_of(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_banned_agent_gives_nothing_out_any_more_also_after_a_restart(rig: Rig) -> None:
    rig.start_ca()
    agent = rig.start_agent()
    rig.create_entry()
    async with rig.channel() as channel:
        call = rig.fetch(channel)
        await call.read()
        (banned,) = rig.admin("ListAgents", admin_pb2.ListAgentsRequest(), admin_pb2.ListAgentsResponse).agents
        rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=banned.spiffe_id), admin_pb2.RevokeResponse)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest_of(call)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)
    assert agent.terminate() == 0
    rig.start_agent()
    assert await refusal(rig) is grpc.StatusCode.UNAVAILABLE
