"""Revoking against issuing, through the real stack."""

from __future__ import annotations

from tests.rigs.fixtures_up import Machine
from tests.rigs.revoke_race import race

ROUNDS = 200


async def test_revocation_that_races_with_issuing_lets_nothing_slip_through(machine: Machine) -> None:
    raced = await race(machine, ROUNDS)
    assert raced.issued, "no certificate was issued before a revocation: nothing was tried"
    assert raced.blocked, "no request met a block: nothing was tried"
