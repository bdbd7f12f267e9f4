"""Revoking against issuing, through the real stack: nothing alive that should be dead."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from inborn._internal.spiffe.x509_svid import CertificateFacts, load_certificate, read_certificate
from inborn.errors import InbornError
from inborn_ca.signer.state import Blocked
from tests.rigs.fixtures_up import Machine, Requester, admin_call, spiffe_id, wait_for_snapshot

# Then another identity is raced for: who kills more than 500 certificates at once has to say their number.
ROUNDS_OF_ONE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """What was seen, all of it as it must be."""

    issued: int
    """Certificates that came before a revocation, and are dead."""
    blocked: int
    """Requests that came after it."""


async def race(machine: Machine, rounds: int) -> Raced:
    """In each round some agents ask for certificates of one identity while an admin revokes it.

    Whatever was issued before the unblocking is dead; whatever was asked for after the revocation returned is refused.
    """
    address = await asyncio.to_thread(lambda: machine.bootstrap_address)
    requesters = [await Requester.enroll((await admin_call(machine, "CreateToken")).token, address) for _ in range(3)]
    dead: list[CertificateFacts] = []
    slipped = raced = seq = 0
    path = entry = ""

    async def ask(requester: Requester) -> list[bytes | InbornError]:
        return await requester.issue(entry, entry)

    for number in range(rounds):
        if number % ROUNDS_OF_ONE == 0:
            path = f"/raced/{number}"
            entry = await asyncio.to_thread(machine.entry, path, node="any")
        tasks = [asyncio.create_task(ask(requester)) for requester in requesters]
        revoked = await admin_call(machine, "Revoke", spiffe_id=spiffe_id(path))
        seq = revoked.revocation_seq
        outcomes = [outcome for task in tasks for outcome in await task]
        after = await requesters[0].issue(entry)
        assert isinstance(after[0], Blocked), after
        for outcome in outcomes:
            if isinstance(outcome, bytes):
                dead.append(read_certificate(load_certificate(outcome)))
                slipped += 1
            else:
                assert isinstance(outcome, Blocked), outcome
                raced += 1
        await admin_call(machine, "Unblock", target=f"id:{spiffe_id(path)}")
    (last,) = await requesters[0].issue(entry)
    assert isinstance(last, bytes)
    alive = read_certificate(load_certificate(last))
    for requester in requesters:
        await requester.client.close()

    def check() -> None:
        with machine.source() as source:
            wait_for_snapshot(source, lambda s: s.revocations.seq >= seq, "the workload knows all revocations")
            revocations = source.snapshot().revocations
            assert [facts.serial.hex() for facts in dead if revocations.find(facts) is None] == []
            assert revocations.find(alive) is None

    await asyncio.to_thread(check)
    return Raced(issued=slipped, blocked=raced)
