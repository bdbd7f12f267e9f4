"""Targets that peers cannot see, turned into serials: each certificate alive at or below the cut-off, once.

The block and the cut-off are committed first, so nothing new can come under the target meanwhile and nothing that
comes after an unblock is touched. Then the ledger is walked through in chunks, each a transaction of its own: issuing
goes on between them, and a crash loses the chunk that was under way and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn.errors import NotFoundError
from inborn_ca.model.records import Expansion
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.open_work import OpenWork
from inborn_ca.signer.commands.revocation_log import append_revocation
from inborn_ca.signer.progress import Progress, seconds_to_wait
from inborn_ca.signer.queue import Finish, Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2

__all__ = ["Expander"]

_log = get_logger("ca.expansion")

CHUNK = 500  # serials a transaction: 20 ms, so that an issue waits no longer than for a group of others


class Expander(OpenWork):
    """Works on open expansions, one after another, until there is none."""

    def __init__(self, state: SignerState, queue: Queue, reader: Reader) -> None:
        self._state = state
        self._queue = queue
        self._reader = reader
        self._progress = Progress()

    async def wait(self, request: admin_pb2.ExpansionRequest) -> admin_pb2.ExpansionResponse:
        """How far an expansion is; waits until it is finished, or for the time given."""
        expansion = await self._progress.until(
            lambda: self._existing(request.id),
            lambda seen: seen.finished_at is not None,
            seconds_to_wait(request.wait_ms),
        )
        return _message(expansion)

    def _existing(self, expansion_id: int) -> Expansion:
        expansion = self._reader.revocations.expansion(expansion_id)
        if expansion is None:
            raise NotFoundError(f"no expansion has number {expansion_id}")
        return expansion

    async def _run(self) -> None:
        while expansions := self._reader.revocations.open_expansions():
            expansion = expansions[0]
            while expansion.finished_at is None:
                expansion = await self._queue.run(self.chunk(expansion))
                self._progress.moved()
                await asyncio.sleep(0)  # whatever has arrived meanwhile is the next group
            _log.event("expansion.finished", target=expansion.target, revoked=expansion.revoked)

    def chunk(self, expansion: Expansion) -> Callable[[Transaction, Changes], Finish]:
        """The command that expands the next piece; what it has done survives a crash, and the next start goes on."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            serials = tx.ledger.alive_serials(
                expansion.kind,
                expansion.value,
                expansion.cut_offs,
                at=now,
                after=expansion.after_serial,
                limit=CHUNK,
            )
            seq = expansion.revocation_seq
            for serial, authority in serials:
                seq = append_revocation(
                    self._state,
                    tx,
                    changes,
                    RevocationKind.SERIAL,
                    serial,
                    cut_offs={authority: serial},
                    reason=expansion.reason,
                    blocks=False,
                    actor=expansion.actor,
                    note=expansion.note,
                    audited=False,
                )
            done = replace(
                expansion,
                after_serial=serials[-1][0] if serials else expansion.after_serial,
                revoked=expansion.revoked + len(serials),
                revocation_seq=seq,
                finished_at=None if serials else now,
            )
            tx.revocations.update_expansion(done)
            if not serials:
                detail = {"revoked": done.revoked, "seq": seq}
                tx.audit.add(audit.row(now, expansion.actor, "revoke.expanded", expansion.target, detail=detail))
            return lambda: done

        return command


def _message(expansion: Expansion) -> admin_pb2.ExpansionResponse:
    return admin_pb2.ExpansionResponse(
        id=expansion.id,
        target=expansion.target,
        revoked=expansion.revoked,
        finished=expansion.finished_at is not None,
        revocation_seq=expansion.revocation_seq,
    )
