"""Is the CA able to do its work: a throw-away key goes through all of it, and the front's ports are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.verification.verify import verify_chain
from inborn.errors import InbornError
from inborn_ca.model.records import CertificateKind
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.queue import Finish, Queue
from inborn_ca.signer.state import SignerState, certificate_der
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2, signer_pb2

__all__ = ["Health"]

REUSE = 1.0  # seconds: a monitor that asks more often is given the last answer, so that health costs no ledger rows

Probe = Callable[[], Awaitable[signer_pb2.ProbeResponse]]


class Health:
    """`inborn health`: recorded like every other issue, verified and thrown away in the signer."""

    def __init__(self, state: SignerState, queue: Queue, probe: Probe) -> None:
        self._state = state
        self._queue = queue
        self._probe = probe
        self._lock = asyncio.Lock()
        self._last: tuple[float, admin_pb2.CheckHealthResponse] | None = None

    async def check(self) -> admin_pb2.CheckHealthResponse:
        async with self._lock:
            now = time.monotonic()
            if self._last is None or now - self._last[0] > REUSE:
                response = admin_pb2.CheckHealthResponse()
                await self._issue(response)
                await self._ports(response)
                response.healthy = all(check.healthy for check in response.checks)
                self._last = (now, response)
            return self._last[1]

    async def _issue(self, response: admin_pb2.CheckHealthResponse) -> None:
        begun = time.perf_counter()
        try:
            await self._queue.run(self._throw_away)
            problem = ""
        except InbornError as e:
            problem = e.message
        response.checks.add(
            name="issue",
            healthy=not problem,
            detail=problem or "recorded, signed and verified a certificate",
            milliseconds=(time.perf_counter() - begun) * 1000,
        )

    def _throw_away(self, tx: Transaction, changes: Changes) -> Finish:
        spiffe_id = self._state.trust_domain.id.child("inborn", "health")
        pending = self._state.certify(
            tx,
            kind=CertificateKind.HEALTH,
            spiffe_id=spiffe_id,
            public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
            ttl=self._state.lifetimes.health,
        )

        def finish() -> None:
            verify_chain(
                [pending.sign(), certificate_der(pending.issuer.certificate)],
                bundles={self._state.trust_domain: self._state.bundle},
                revocations=RevocationSet(),
                authorize=lambda peer: peer == spiffe_id,
                now=self._state.clock(),
            )

        return finish

    async def _ports(self, response: admin_pb2.CheckHealthResponse) -> None:
        begun = time.perf_counter()
        try:
            ports = (await self._probe()).ports
        except InbornError as e:
            response.checks.add(name="front", healthy=False, detail=e.message)
            return
        elapsed = (time.perf_counter() - begun) * 1000
        for port in ports:
            response.checks.add(
                name=f"{port.name} port",
                healthy=port.healthy,
                detail=port.problem or f"answers on {port.address}",
                milliseconds=elapsed,
            )
