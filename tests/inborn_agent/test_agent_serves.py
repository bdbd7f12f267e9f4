"""Agent, CA and workload as processes: what a workload is given, when, and when not any more."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_proto import admin_pb2, agent_pb2, workload
from tests.inborn_agent.fixtures_agent import HEADER, PATIENCE, Rig


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    rig = Rig.make()
    try:
        rig.start_ca()
        rig.start_agent()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def served(running: Rig) -> Iterator[Rig]:
    """One CA and agent for all tests here; each leaves neither entries nor blocks behind."""
    yield running
    for entry in running.admin("ListEntries", admin_pb2.ListEntriesRequest(), admin_pb2.ListEntriesResponse).entries:
        running.admin("DeleteEntry", admin_pb2.EntryRequest(id=entry.id), admin_pb2.EntryResponse)
    known = running.admin("ListRevocations", admin_pb2.ListRevocationsRequest(), admin_pb2.ListRevocationsResponse)
    for block in known.blocks:
        running.admin("Unblock", admin_pb2.UnblockRequest(target=block.target), admin_pb2.UnblockResponse)


def svid_of(message: Any) -> X509Svid:
    return X509Svid.parse(message.svids[0].x509_svid, message.svids[0].x509_svid_key)


async def end_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a stream ends, whatever comes before."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return await call.code(), await call.details()


async def test_a_matching_process_gets_a_whole_response(served: Rig) -> None:
    served.create_entry(hint="main")
    message = await served.fetch_once()
    svid = svid_of(message)
    assert message.svids[0].spiffe_id == str(svid.spiffe_id) == "spiffe://example.org/web"
    assert len(svid.chain) == 2
    assert message.svids[0].hint == "main"
    root = x509.load_der_x509_certificate(message.svids[0].bundle)
    assert svid.chain[1].issuer == root.subject
    issuers = {x509.load_der_x509_crl(crl).issuer for crl in message.crl}
    assert issuers == {root.subject, svid.chain[1].subject}
    assert not message.federated_bundles


async def test_a_stream_follows_the_rotations_of_short_lives(served: Rig) -> None:
    served.create_entry(ttl=2)
    serials = []
    async with served.channel() as channel:
        call = served.fetch(channel)
        while len(serials) < 4:
            svid = svid_of(await call.read())
            assert time.time() < svid.facts.not_after.timestamp()
            serials.append(svid.facts.serial)
    assert serials == sorted(set(serials))


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("workload.spiffe.io", "TRUE"),),
        (("workload.spiffe.io", "True"),),
        (("workload.spiffe.io", ""),),
        (("workload.spiffe.io", "true"), ("workload.spiffe.io", "true")),
        (("workload.spiffe.io", "true"), ("workload.spiffe.io", "false")),
    ],
)
async def test_a_call_without_exactly_the_header_is_refused(served: Rig, metadata: Any) -> None:
    served.create_entry()
    async with served.channel() as channel:
        code, details = await end_of(served.fetch(channel, metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "workload.spiffe.io" in details


async def test_who_has_no_identity_is_told_so_at_once_in_spiffes_words(served: Rig) -> None:
    async with served.channel() as channel:
        assert await end_of(served.fetch(channel)) == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        bundles = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509Bundles")
        assert await end_of(bundles(b"", metadata=HEADER)) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "no identity issued",
        )


async def test_bundles_are_keyed_by_the_trust_domains_id(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        call = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509Bundles")
        message = workload.X509BundlesResponse.FromString(await call(b"", metadata=HEADER).read())
    assert list(message.bundles) == ["spiffe://example.org"]
    assert len(message.crl) == 2


async def test_profiles_that_are_not_offered_answer_unimplemented(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        for name in ("FetchJWTBundles", "FetchWITSVID", "FetchWITBundles"):
            call = channel.unary_stream(f"/SpiffeWorkloadAPI/{name}")(b"", metadata=HEADER)
            assert (await end_of(call))[0] is grpc.StatusCode.UNIMPLEMENTED
        for name in ("FetchJWTSVID", "ValidateJWTSVID"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/SpiffeWorkloadAPI/{name}")(b"", metadata=HEADER)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_two_identities_come_with_hints_that_differ(served: Rig) -> None:
    served.create_entry("/a", hint="same")
    served.create_entry("/b", hint="same")
    message = await served.fetch_once()
    assert [svid.spiffe_id for svid in message.svids] == ["spiffe://example.org/a", "spiffe://example.org/b"]
    assert [svid.hint for svid in message.svids] == ["same", ""]


async def test_a_deleted_entry_ends_the_stream(served: Rig) -> None:
    entry = served.create_entry()
    async with served.channel() as channel:
        call = served.fetch(channel)
        await call.read()
        served.admin("DeleteEntry", admin_pb2.EntryRequest(id=entry), admin_pb2.EntryResponse)
        assert await end_of(call) == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")


async def test_a_revoked_identity_is_gone_until_it_is_unblocked(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        call = served.fetch(channel)
        first = svid_of(await call.read())
        served.revoke()
        assert (await end_of(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await end_of(served.fetch(channel)))[0] is grpc.StatusCode.PERMISSION_DENIED
        served.unblock()
        again = svid_of(await served.fetch(channel).read())
    assert again.facts.serial > first.facts.serial
    assert again.facts.key_hash != first.facts.key_hash


async def test_revoke_with_reissue_brings_a_new_key_on_the_same_stream(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        call = served.fetch(channel)
        first = svid_of(await call.read())
        served.revoke(reissue=True)
        second = svid_of(await call.read())
    assert second.facts.key_hash != first.facts.key_hash


async def test_the_library_waits_for_its_identity_and_gets_the_revocations_before_it(served: Rig) -> None:
    served.create_entry("/other", "unix:uid:4294967294")
    seq = served.revoke("/other")
    async with served.channel() as channel:
        stream = served.local(channel).stream("Attend", agent_pb2.AttendResponse)
        await stream.send(agent_pb2.AttendRequest())
        nothing = await anext(stream)
        assert not nothing.identities.identities
        assert "no registration entry" in nothing.identities.reason
        served.create_entry()
        seen: list[agent_pb2.AttendResponse] = []
        while not seen or not seen[-1].identities.identities:
            seen.append(await anext(stream))
        kinds = [message.WhichOneof("content") for message in seen]
        assert kinds.index("revocations") < len(kinds) - 1
        snapshot = next(m.revocations for m in seen if m.WhichOneof("content") == "revocations")
        assert snapshot.snapshot
        assert snapshot.revocation_seq == seq
        assert seen[-1].identities.trust_domain == "example.org"
        assert list(seen[-1].identities.bundles) == ["example.org"]


async def until(stream: Any, kind: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if message.WhichOneof("content") == kind:
                return getattr(message, kind)
    raise AssertionError("stream ended")


async def test_a_library_that_does_not_acknowledge_is_named_and_one_that_does_is_not(served: Rig) -> None:
    served.create_entry()
    served.create_entry("/other", "unix:uid:4294967294")
    async with served.channel() as channel, served.channel() as other:
        good = served.local(channel).stream("Attend", agent_pb2.AttendResponse)
        lazy = served.local(other).stream("Attend", agent_pb2.AttendResponse)
        for stream in (good, lazy):
            await stream.send(agent_pb2.AttendRequest())
            while not (await until(stream, "identities")).identities:
                pass
        seq = served.revoke("/other")
        for stream in (good, lazy):
            pushed = await until(stream, "revocations")
            while pushed.revocation_seq < seq:
                pushed = await until(stream, "revocations")
            if stream is good:
                await stream.send(agent_pb2.AttendRequest(log_id=pushed.log_id, revocation_seq=seq))
        deadline = time.monotonic() + PATIENCE
        answer = await asyncio.to_thread(served.propagation, seq, 100)
        assert answer.applied == 0
        while "pid" not in " ".join(answer.laggards) and time.monotonic() < deadline:
            answer = await asyncio.to_thread(served.propagation, seq, 500)
        assert answer.applied == 0
        assert [f"pid {os.getpid()} spiffe://example.org/web" in laggard for laggard in answer.laggards] == [True]
        await lazy.send(agent_pb2.AttendRequest(log_id=pushed.log_id, revocation_seq=seq))
        assert (await asyncio.to_thread(served.propagation, seq)).applied == 1


async def test_freshness_comes_with_the_sign_of_life_of_the_ca(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        stream = served.local(channel).stream("Attend", agent_pb2.AttendResponse)
        await stream.send(agent_pb2.AttendRequest())
        assert (await until(stream, "freshness")).age_ms < 60_000


async def test_why_tells_a_process_its_own_selectors_and_no_entries(served: Rig) -> None:
    served.create_entry()
    async with served.channel() as channel:
        answer = await served.local(channel).unary(
            "Why", agent_pb2.WhyRequest(), agent_pb2.WhyResponse, timeout=PATIENCE
        )
    assert answer.pid == os.getpid()
    assert f"unix:uid:{os.geteuid()}" in answer.selectors
    assert not answer.entries


async def test_the_admin_is_told_which_entry_misses_by_what(served: Rig) -> None:
    served.create_entry()
    served.create_entry("/other", "unix:uid:4294967294", "unix:path:/nowhere")
    async with served.channel(served.data_dir / "agent" / "admin.sock") as channel:
        stub = served.local(channel, "AgentAdmin")
        answer = await stub.unary(
            "WhyProcess", agent_pb2.WhyProcessRequest(pid=os.getpid()), agent_pb2.WhyResponse, timeout=PATIENCE
        )
        status = await stub.unary("GetStatus", agent_pb2.AgentStatusRequest(), agent_pb2.AgentStatus, timeout=PATIENCE)
    assert [list(entry.missing) for entry in answer.entries] == [
        [],
        ["unix:path:/nowhere", "unix:uid:4294967294"],
    ]
    assert status.connected
    assert status.entries == 2


async def test_the_admins_methods_are_not_on_the_workloads_socket(served: Rig) -> None:
    async with served.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/inborn.agent.v1.AgentAdmin/GetStatus")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_hundred_callers_at_once_are_all_served(served: Rig) -> None:
    served.create_entry()

    async def one() -> str:
        return (await served.fetch_once()).svids[0].spiffe_id

    answers = await asyncio.gather(*(one() for _ in range(100)))
    assert set(answers) == {"spiffe://example.org/web"}
