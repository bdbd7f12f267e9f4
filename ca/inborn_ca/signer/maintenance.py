"""What the signer does by itself: heartbeats, the log key, authorities, CRLs, expired revocations, pruning.

One loop, woken once a second and whenever a revocation asks for new CRLs. Each step is a command of the queue like
any other, so that it is one transaction and nothing is half done.
"""

from __future__ import annotations

import asyncio
import time

from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn.errors import InbornError
from inborn_ca.model.records import SvidKind
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.authorities import Authorities, RevokedEntry
from inborn_ca.signer.feeds import HEARTBEAT, Feeds
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Command, Finish, Queue
from inborn_ca.signer.state import SignerState, to_revocation
from inborn_ca.store.interface import Reader, Transaction

__all__ = ["Maintenance", "dead_certificates"]

_log = get_logger("ca.maintenance")

TICK = 1.0  # seconds: the finest step of a CRL's thisUpdate, and of an authority's life in a test
PRUNE_EVERY = 60.0  # seconds between looks for what can be deleted
DROP_ROWS = 1000  # revocations a transaction: each is told to the feeds as well
PRUNE_ROWS = 10_000  # a transaction: 11 to 19 ms
_MAX_CLOCK_DRIFT = 60.0  # seconds between wall clock and running time, beyond which nothing is dropped


class Maintenance:
    """Runs until it is cancelled."""

    def __init__(
        self,
        state: SignerState,
        queue: Queue,
        feeds: Feeds,
        authorities: Authorities,
        propagation: Propagation,
        reader: Reader,
    ) -> None:
        self._state = state
        self._queue = queue
        self._feeds = feeds
        self._authorities = authorities
        self._propagation = propagation
        self._reader = reader
        self._wake = asyncio.Event()
        # What was revoked before a crash, or by another CA of the database, may not be in our CRLs yet.
        self._dirty = len(state.revocations) > 0
        self._next_heartbeat = 0.0
        self._next_prune = time.monotonic() + PRUNE_EVERY
        self._clock_base = state.clock().timestamp() - time.monotonic()

    def changed(self, changes: Changes) -> None:
        """After each group: new revocations ask for new CRLs."""
        if changes.revocations:
            self._dirty = True
            self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            for step in (self._heartbeat, self._log_key, self._rotate, self._crls, self._housekeeping):
                try:
                    await step()
                except InbornError as e:
                    _log.warning("maintenance.failed", step=step.__name__.lstrip("_"), error=e.message)
                except Exception:
                    _log.exception("maintenance.broken", step=step.__name__.lstrip("_"))
            try:
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _heartbeat(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + HEARTBEAT.total_seconds()
            self._feeds.heartbeat()

    async def _log_key(self) -> None:
        if self._feeds.is_log_key_due(self._state.clock()):
            await self._queue.run(self._feeds.certify_log_key)

    async def _rotate(self) -> None:
        for command in self._authorities.due(heard_by_all=self._propagation.has_revision):
            await self._queue.run(command)

    async def _crls(self) -> None:
        due = set(self._authorities.crls_due())
        if self._dirty:
            due |= {a.key_id for a in self._state.own_authorities}
        if not due:
            return
        self._dirty = False
        dead = await asyncio.to_thread(dead_certificates, self._state)
        early = await self._queue.run(self._authorities.renew_crls(sorted(due), lambda key_id: dead.get(key_id, [])))
        self._dirty = self._dirty or bool(early)

    async def _housekeeping(self) -> None:
        if time.monotonic() < self._next_prune:
            return
        self._next_prune = time.monotonic() + PRUNE_EVERY
        now = self._state.clock()
        drift = abs(now.timestamp() - time.monotonic() - self._clock_base)
        if drift > _MAX_CLOCK_DRIFT:
            await self._queue.run(self._clock_alarm(drift))
            return
        while await self._queue.run(self._drop_revocations) >= DROP_ROWS:
            await asyncio.sleep(0)
        while await self._queue.run(self._prune) >= PRUNE_ROWS:
            await asyncio.sleep(0)

    def _clock_alarm(self, drift: float) -> Command:
        def command(tx: Transaction, changes: Changes) -> Finish:
            tx.audit.raise_alarm(
                kind="clock.jumped",
                subject="wall clock",
                message=f"it and running time disagree by {drift:.0f} s: nothing is dropped or pruned",
                at=self._state.clock(),
            )
            return lambda: None

        return command

    def _drop_revocations(self, tx: Transaction, changes: Changes) -> Finish:
        dropped = tx.revocations.drop_expired(self._state.clock(), limit=DROP_ROWS)
        changes.dropped += dropped
        return lambda: len(dropped)

    def _prune(self, tx: Transaction, changes: Changes) -> Finish:
        now = self._state.clock()
        lifetimes = self._state.lifetimes
        pruned = tx.prune(
            issued_expired_before=now - lifetimes.ledger_retention,
            audit_before=now - lifetimes.audit_retention,
            limit=PRUNE_ROWS,
        )
        return lambda: pruned


def dead_certificates(state: SignerState) -> dict[bytes, list[RevokedEntry]]:
    """Every living certificate that a revocation touches, by its authority: what CRLs list.

    Reads from a handle of its own, at length; for a thread of its own.
    """
    revocations = RevocationSet()
    dead: dict[bytes, list[RevokedEntry]] = {}
    reader = state.store.reader()
    try:
        revocations.apply_snapshot(
            state.log_id, reader.revocations.seq(), [to_revocation(r) for r in reader.revocations.log()]
        )
        if len(revocations):
            for row in reader.ledger.iter_alive(at=state.clock()):
                revocation = revocations.find(state.facts(row))
                if revocation is not None and row.svid_kind is SvidKind.X509:  # a CRL lists nothing else
                    at = revocation.revoked_at or row.issued_at
                    dead.setdefault(row.authority, []).append((row.serial, at, revocation.reason))
    finally:
        reader.close()
    return dead
