"""What revoking costs the signer: one revocation among many, an expansion among a million, a large CRL."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time

from benchmarks.report import Figure, percentile
from benchmarks.signer import temporary_core
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn_ca.authorities.crl import build_crl
from inborn_ca.model.records import CertificateKind, Issued
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.authorities import Authorities
from inborn_ca.signer.commands.expansion import Expander
from inborn_ca.signer.commands.revocation_log import append_revocation
from inborn_ca.signer.commands.revocations import Revocations
from inborn_ca.signer.queue import Command, Finish, Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2

__all__ = ["run"]

ALIVE = 1_000_000
TOUCHED = 10_000
REVOCATIONS = (100, 10_000, 100_000)
TRUST_DOMAIN = "bench.example"
NODE = parse_spiffe_id(f"spiffe://{TRUST_DOMAIN}/inborn/agent/bench")
BAD = Selector("docker", "image_config_digest:sha256:" + "a" * 64)


def run() -> list[Figure]:
    return asyncio.run(_run())


async def _run() -> list[Figure]:
    figures: list[Figure] = []
    with temporary_core() as state:
        queue = Queue(state)
        authorities = Authorities(state)
        await queue.run(authorities.create())
        for command in authorities.due(heard_by_all=lambda revision: True):
            await queue.run(command)
        figures += await _revocations(state, queue)
    with temporary_core() as state:
        queue = Queue(state)
        authorities = Authorities(state)
        await queue.run(authorities.create())
        for command in authorities.due(heard_by_all=lambda revision: True):
            await queue.run(command)
        figures.append(await _expansion(state, queue))
        figures.append(_crl(state))
    return figures


async def _revocations(state: SignerState, queue: Queue) -> list[Figure]:
    """One revocation by ID with so many revocations alive: the median, and how much the most costs over the least."""
    medians = []
    have = 0
    for wanted in REVOCATIONS:
        while have < wanted:
            step = min(2000, wanted - have)

            def fill(tx: Transaction, changes: Changes, step: int = step) -> Finish:
                for _ in range(step):
                    append_revocation(
                        state, tx, changes, RevocationKind.KEY, os.urandom(32), reason=0, blocks=False, actor="bench"
                    )
                return lambda: None

            await queue.run(fill)
            have += step
        seconds = []
        for number in range(100):
            request = admin_pb2.RevokeRequest(spiffe_id=f"spiffe://{TRUST_DOMAIN}/gone/{wanted}/{number}")
            begun = time.process_time()  # CPU: how long the disk takes to sync does not depend on the revocations
            await queue.run(Revocations(state).revoke(request, "bench"))
            seconds.append(time.process_time() - begun)
        medians.append(percentile(seconds, 0.5))
    detail = ", ".join(f"{n} revocations {m * 1000:.2f} ms CPU" for n, m in zip(REVOCATIONS, medians, strict=True))
    return [
        Figure(
            name="one revoke, most revocations over least",
            value=max(medians) / medians[0],
            unit="x",
            bar=1.5,
            detail=detail,
        )
    ]


async def _expansion(state: SignerState, queue: Queue) -> Figure:
    """Everything issued on one image's evidence, ten thousand among a million alive."""
    begun = time.perf_counter()
    for start in range(0, ALIVE, 20_000):
        await queue.run(_rows(state, start, 20_000))
    filled = time.perf_counter() - begun
    request = admin_pb2.RevokeRequest(selector=str(BAD), expect_count=TOUCHED)
    begun = time.perf_counter()
    response = await queue.run(Revocations(state).revoke(request, "bench"))
    expander = Expander(state, queue, state.store.reader())
    expander.start()
    done = await expander.wait(admin_pb2.ExpansionRequest(id=response.expansion, wait_ms=30_000))
    while not done.finished:
        done = await expander.wait(admin_pb2.ExpansionRequest(id=response.expansion, wait_ms=30_000))
    elapsed = time.perf_counter() - begun
    await expander.close()
    if done.revoked != TOUCHED:
        raise RuntimeError(f"{done.revoked} certificates were killed, not {TOUCHED}")
    return Figure(
        name=f"revoke by selector, {TOUCHED} of {ALIVE} alive",
        value=elapsed,
        unit="s",
        bar=2,
        detail=f"ledger filled in {filled:.0f} s",
    )


def _rows(state: SignerState, start: int, count: int) -> Command:
    """A command that writes ledger rows as an issue does, without signatures."""

    def command(tx: Transaction, changes: Changes) -> Finish:
        now = state.clock()
        authority = state.active.key_id
        for number in range(start, start + count):
            is_bad = number % (ALIVE // TOUCHED) == 0
            tx.ledger.add(
                Issued(
                    serial=state.serials.next(now, os.urandom(11)),
                    spiffe_id=SpiffeId(trust_domain=state.trust_domain, path=f"/w/{number % 1000}"),
                    kind=CertificateKind.WORKLOAD,
                    key_hash=os.urandom(32),
                    authority=authority,
                    issued_at=now,
                    not_after=now + dt.timedelta(hours=12),
                    node=NODE,
                    selectors=(BAD, Selector("unix", "uid:1000")) if is_bad else (Selector("unix", "uid:1000"),),
                )
            )
        return lambda: None

    return command


def _crl(state: SignerState) -> Figure:
    now = state.clock()
    issuer = state.active
    revoked = [(state.serials.next(now, os.urandom(11)), now, 0) for _ in range(100_000)]
    begun = time.process_time()
    build_crl(
        issuer=issuer.certificate,
        key=state.signing_key(issuer.key_id),
        number=2,
        this_update=now,
        next_update=now + dt.timedelta(days=1),
        revoked=revoked,
    )
    return Figure(
        name="CRL of 100,000 entries, built, signed and checked",
        value=(time.process_time() - begun) * 1000,
        unit="ms CPU",
        bar=300,
    )
