"""Revoking an issuing authority: it is replaced first, whoever is there renews, and only what is left is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import inborn
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.rpc.services import AioStream
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.x509_svid import read_certificate
from inborn._internal.verification.verify import verify_chain
from inborn.errors import InbornError, NotFoundError, PreconditionError, RequestError, UnauthenticatedError
from inborn_ca.signer.commands.authority_revocation import Patience
from inborn_proto import admin_pb2, ca_pb2
from tests.inborn_cli.fixtures_cli import Command
from tests.rigs.fixtures_up import Machine, Only, echo, wait_for_paths
from tests.rigs.front_rig import EnrolledAgent, Rig, make_csr, running_ca

BATCH = Patience(push=5, front=5, renew=15, say_again=0.2, settle=0.1)
HASTY = Patience(push=0.2, front=5, renew=0.5, say_again=0.1, settle=0)


def active(rig: Rig) -> str:
    return rig.signer.state.active.key_id.hex()


async def revoke(rig: Rig, authority: str) -> admin_pb2.RevokeResponse:
    answer: admin_pb2.RevokeResponse = await rig.admin("Revoke", admin_pb2.RevokeRequest(authority=authority))
    return answer


async def followed(rig: Rig, authority: str) -> admin_pb2.AuthorityRevocationResponse:
    """Its end."""
    step = ""
    async with asyncio.timeout(40):
        while True:
            request = admin_pb2.AuthorityRevocationRequest(authority=authority, step=step, wait_ms=10_000)
            answer: admin_pb2.AuthorityRevocationResponse = await rig.admin("GetAuthorityRevocation", request)
            if answer.finished:
                return answer
            step = answer.step


async def reached(rig: Rig, authority: str, step: str) -> None:
    async with asyncio.timeout(20):
        known = ""
        while known != step:
            request = admin_pb2.AuthorityRevocationRequest(authority=authority, step=known, wait_ms=10_000)
            known = (await rig.admin("GetAuthorityRevocation", request)).step


async def read_to_the_end(stream: AioStream) -> None:
    async with asyncio.timeout(10):
        while True:
            await anext(stream)


async def renew(rig: Rig, member: EnrolledAgent) -> ca_pb2.EnrollResponse:
    payload = ca_pb2.RenewRequest(csr=make_csr(ec.generate_private_key(ec.SECP256R1()))).SerializeToString()
    answer: ca_pb2.EnrollResponse = await rig.authority(member).unary(
        "Renew", member.sign("Renew", payload), ca_pb2.EnrollResponse, timeout=10
    )
    return answer


async def test_connected_daemon_renews_and_what_the_authority_signed_is_refused(tmp_path: Path) -> None:
    async with running_ca(tmp_path / "ca", patience=BATCH) as rig:
        former = active(rig)
        away = await rig.enroll(name="away")
        token = await rig.token(spiffe_id="spiffe://example.org/db")
        async with inborn.enroll(token, ca=str(rig.settings.bootstrap), directory=tmp_path / "d") as source:
            old = source.svid
            assert await rig.signer.propagation.until(lambda: bool(rig.signer.feeds.connected), 10)
            status = await rig.admin("GetStatus", admin_pb2.StatusRequest())
            assert (status.agents_connected, status.agents) == (0, 1)  # who listens is the daemon
            answer = await revoke(rig, former)
            assert (answer.authority, answer.certificates > 0, answer.blocked) == (former, True, False)
            done = await followed(rig, former)
            assert list(done.laggards) == []
            assert list(done.away) == [away.spiffe_id]
            assert done.successor == active(rig) != former
            new = source.svid
            assert new.facts.authority.hex() == done.successor
            waited = await rig.admin(
                "GetPropagation", admin_pb2.PropagationRequest(revocation_seq=done.revocation_seq, wait_ms=10_000)
            )
            assert (waited.peers, waited.applied) == (1, 1)
            with pytest.raises(UnauthenticatedError, match=f"authority:{former}"):
                source.snapshot().revocations.check(old.facts)
            source.snapshot().revocations.check(new.facts)
        state = rig.signer.state
        with pytest.raises(InbornError):
            await renew(rig, away)
        record = next(a for a in state.authorities if a.key_id.hex() == former)
        assert record.state is AuthorityState.REVOKED
        root = x509.load_der_x509_crl(state.roots[0].crl)
        assert root.get_revoked_certificate_by_serial_number(record.certificate.serial_number) is not None
        fresh = await rig.enroll(agent=away.spiffe_id)
        verify_chain(
            fresh.svid.chain,
            bundles={state.trust_domain: state.bundle},
            revocations=state.revocations,
            authorize=lambda _: True,
            now=state.clock(),
        )
        assert read_certificate(fresh.svid.leaf).authority.hex() == done.successor


async def test_peer_that_does_not_renew_is_named_and_cut_off(tmp_path: Path) -> None:
    async with running_ca(tmp_path, patience=HASTY) as rig:
        former = active(rig)
        agent = await rig.enroll()
        stream = await rig.watch(agent)
        await anext(stream)
        await revoke(rig, former)
        done = await followed(rig, former)
        assert list(done.laggards) == [agent.spiffe_id]
        assert list(done.away) == []
        with pytest.raises(InbornError):
            await read_to_the_end(stream)
        with pytest.raises(InbornError):
            await renew(rig, agent)


async def test_killed_in_the_middle_it_is_finished_by_the_next_start(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        former = active(rig)
        agent = await rig.enroll()
        stream = await rig.watch(agent)
        await anext(stream)
        await revoke(rig, former)
        await reached(rig, former, "pushing")
        assert active(rig) == former
    async with running_ca(tmp_path, patience=HASTY) as rig:
        done = await followed(rig, former)
        assert list(done.away) == [agent.spiffe_id]
        assert active(rig) == done.successor != former
        assert (await followed(rig, former)).revocation_seq == done.revocation_seq
    async with running_ca(tmp_path, patience=HASTY) as rig:
        again = await revoke(rig, former)
        assert (await followed(rig, again.authority)).revocation_seq == done.revocation_seq
        assert rig.signer.state.revocations.seq == done.revocation_seq
        assert active(rig) == done.successor


async def test_retired_authority_is_revoked_and_the_active_one_stays(tmp_path: Path) -> None:
    async with running_ca(tmp_path, patience=HASTY) as rig:
        former = active(rig)
        await rig.signer.queue.run(rig.signer.authorities.replace_issuing(activate=True))
        signs = active(rig)
        await revoke(rig, former)
        assert (await followed(rig, former)).successor == signs
        rules = [r for r in rig.signer.state.revocations if r.kind is RevocationKind.AUTHORITY]
        assert [dict(rule.cut_offs) for rule in rules] == [{bytes.fromhex(former): None}]


async def test_authority_revocation_refuses_what_it_must(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        former, root = active(rig), rig.signer.state.roots[0].key_id.hex()
        for text, error in (("zz", RequestError), (former[:14], RequestError), ("0" * 40, NotFoundError)):
            with pytest.raises(error):
                await revoke(rig, text)
        with pytest.raises(RequestError, match="is the root"):
            await revoke(rig, root)
        with pytest.raises(NotFoundError, match="not being revoked"):
            await rig.admin("GetAuthorityRevocation", admin_pb2.AuthorityRevocationRequest(authority=former))
        dry = await rig.admin("Revoke", admin_pb2.RevokeRequest(authority=former[:16], dry_run=True))
        assert dry.certificates == 2  # the front's and the log's
        assert rig.signer.state.active.key_id.hex() == former
        stream = await rig.watch(await rig.enroll())
        await anext(stream)
        await revoke(rig, former)
        await reached(rig, former, "pushing")
        other = rig.signer.authorities.successor()
        assert other is not None
        with pytest.raises(PreconditionError, match="is being revoked"):
            await revoke(rig, other.key_id.hex())


@pytest.mark.slow
async def test_authority_is_revoked_under_traffic_without_one_failed_handshake(
    machine: Machine, inborn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INBORN_DATA_DIR", str(machine.data_dir))
    for path in ("/server", "/client"):
        machine.entry(path, ttl_seconds=600)
    former = next(a.id for a in machine.status().authorities if a.state == "active")
    with machine.source() as source:
        await asyncio.to_thread(wait_for_paths, source, "/server", "/client")
        sides = Only(source, "/server"), Only(source, "/client")
        old = [side.svid for side in sides]
        over = asyncio.Event()
        async with echo(*sides, server_path="/server", client_path="/client") as served:

            async def traffic() -> int:
                requests = 0
                while not over.is_set():
                    await served.request()
                    requests += 1
                return requests

            async with asyncio.TaskGroup() as group:
                callers = [group.create_task(traffic()) for _ in range(4)]
                result = await asyncio.to_thread(inborn, f"revoke --authority {former[:16]} --yes --wait 20s")
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await over.wait()  # traffic goes on for a while with what there is now
                over.set()
            assert result.status == 0, result.err
            assert f"authority:{former}" in result.out
            assert "nobody" in result.out
            assert "applied by every peer" in result.err
            assert sum(caller.result() for caller in callers) > 100
        revocations = source.snapshot().revocations
        for side, svid in zip(sides, old, strict=True):
            assert revocations.find(svid.facts) is not None
            assert revocations.find(side.svid.facts) is None
            assert side.svid.facts.authority.hex() != former
    states = {a.id: a.state for a in machine.status().authorities}
    assert states[former] == "revoked"
    assert machine.agent_is_connected()
