"""Revoking an issuing authority, so that only what it signed and nobody else notices.

Theory of operation. The order is kept in the database from the command that gave it until the revocation is committed;
each step is chosen by what the authority's state is now, so that a process which ends in between goes on from there.

    active   -> the next one is prepared, pushed with its CRL, and activated; this one is retired
    retired  -> the signer's own certificates and the front's are made anew; this one is tainted
    tainted  -> whoever is connected renews; then the revocation is committed, and the root's CRL lists the certificate
    prepared -> it has signed nothing: the revocation at once

Every wait is bounded: somebody who does not renew in time is revoked with the rest, and named. Whoever is away cannot
renew and has to enroll again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import InbornError, InternalError, NotFoundError
from inborn_ca.model.records import AuthorityRecord
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.authorities import Authorities
from inborn_ca.signer.commands.authority_order import (
    AuthorityOrder,
    close_order,
    find_issuing,
    read_order,
    revoke_authority_row,
)
from inborn_ca.signer.commands.open_work import OpenWork
from inborn_ca.signer.commands.revocation_log import REVOCATION_OUTLIVES, append_revocation
from inborn_ca.signer.feeds import Feeds
from inborn_ca.signer.progress import Progress, seconds_to_wait
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Command, Finish, Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2

__all__ = ["AuthorityRevoker", "Patience"]

_log = get_logger("ca.authority_revocation")

_RETRY = 1.0  # seconds after a step that failed, or a CRL that would have been the second one of its second


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each step waits for others, in seconds."""

    push: float = 30.0  # for agents to have the next authority's CRL: what a busy one takes at most
    front: float = 10.0  # for the front's next certificate: one call
    renew: float = 30.0  # for agents to renew themselves and all that they hold
    say_again: float = 1.0  # between two reminders: an answer of the former authority may have been under way
    settle: float = 1.0  # for programs to take what their agent was just given: a push over a socket


class AuthorityRevoker(OpenWork):
    """Works on the order, if there is one."""

    def __init__(
        self,
        state: SignerState,
        queue: Queue,
        reader: Reader,
        authorities: Authorities,
        feeds: Feeds,
        propagation: Propagation,
        *,
        front_authority: Callable[[], bytes | None],
        renew_front: Callable[[], None],
        patience: Patience | None = None,
    ) -> None:
        """`front_authority` says whose certificate the front was given last, None where no front is attached;
        `renew_front` makes it ask for another one."""
        self._state = state
        self._queue = queue
        self._reader = reader
        self._authorities = authorities
        self._feeds = feeds
        self._propagation = propagation
        self._front_authority = front_authority
        self._renew_front = renew_front
        self.patience = patience or Patience()
        self._slow_reader = state.store.reader()
        self._progress = Progress()
        self._answer = admin_pb2.AuthorityRevocationResponse()
        self._is_resumed = True
        """The process has just begun: who is away now may be on its way back."""

    async def wait(self, request: admin_pb2.AuthorityRevocationRequest) -> admin_pb2.AuthorityRevocationResponse:
        """How far it is; waits for another step than the one that is known, or for the time given."""
        record = find_issuing(self._state, request.authority)
        return await self._progress.until(
            lambda: self._told(record.key_id),
            lambda told: told.finished or told.step != request.step,
            seconds_to_wait(request.wait_ms),
        )

    def _told(self, key_id: bytes) -> admin_pb2.AuthorityRevocationResponse:
        if self._answer.authority == key_id.hex():
            return self._answer
        record = find_issuing(self._state, key_id.hex())
        told = admin_pb2.AuthorityRevocationResponse(authority=key_id.hex(), step="waiting")
        if record.state is AuthorityState.REVOKED:  # before this process began
            told.step, told.finished, told.successor = "revoked", True, self._successor_name()
            revocation = revoke_authority_row(self._state, key_id)
            told.revocation_seq = revocation.seq if revocation is not None else self._state.revocations.seq
        elif read_order(self._reader, record.ca_id) is None:
            raise NotFoundError(f"authority {key_id.hex()} is not being revoked")
        return told

    # -- the steps -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while (order := read_order(self._reader, self._state.ca_id)) is not None:
            if self._answer.authority != order.authority.hex():
                self._answer = admin_pb2.AuthorityRevocationResponse(authority=order.authority.hex())
            try:
                if any(a.key_id == order.authority for a in self._state.authorities):
                    await self._work(order)
                else:  # its life is over, and it was removed
                    await self._queue.run(lambda tx, changes: close_order(tx, self._state.ca_id))
            except InbornError as e:
                _log.warning("authority_revocation.failed", step=self._answer.step, error=e.message)
                await asyncio.sleep(_RETRY)
        self._is_resumed = False

    async def _work(self, order: AuthorityOrder) -> None:
        """One step, by the authority's state."""
        match self._record(order).state:
            case AuthorityState.ACTIVE:
                await self._replace()
            case AuthorityState.RETIRED:
                await self._renew_own(order)
                await self._queue.run(self._authorities.set_state(order.authority, AuthorityState.TAINTED))
            case AuthorityState.TAINTED:
                await self._renew_own(order)
                await self._wait_for_peers()
                await self._revoke(order)
            case AuthorityState.PREPARED:
                await self._revoke(order)
            case AuthorityState.REVOKED:
                await self._queue.run(lambda tx, changes: close_order(tx, self._state.ca_id))
            case _:
                raise InternalError(f"authority {order.authority.hex()} is no issuing authority")

    async def _replace(self) -> None:
        successor = self._authorities.successor()
        if successor is None:
            self._say("preparing")
            await self._queue.run(self._authorities.replace_issuing(activate=False))
            successor = self._authorities.successor()
            if successor is None:
                raise InternalError("the authority that was just made is not there")
        self._say("pushing")
        revision = self._state.domain_revision
        await self._until(lambda: self._propagation.without_revision(revision), self.patience.push)
        self._say("activating")
        await self._queue.run(self._authorities.activate(successor.key_id))

    async def _renew_own(self, order: AuthorityOrder) -> None:
        """The log key's certificate and the front's: who renews must find them renewed."""
        self._say("renewing")
        if self._feeds.log_authority == order.authority:
            await self._queue.run(self._feeds.certify_log_key)
        if self._front_authority() == order.authority:
            self._renew_front()
            await self._until(
                lambda: ["the front"] if self._front_authority() == order.authority else [], self.patience.front
            )

    async def _wait_for_peers(self) -> None:
        revision, expected = self._state.domain_revision, set(self._feeds.connected)

        def laggards() -> list[str]:
            """Whoever comes back with its new certificate is not connected for a moment, and not finished."""
            return sorted({*self._propagation.outdated(revision), *(expected - set(self._feeds.connected))})

        end = asyncio.get_running_loop().time() + self.patience.renew
        while True:
            if await self._until(laggards, self.patience.say_again):
                away = await self._away() if self._is_resumed else []
                if not away:
                    break
                await self._until(partial(list, away), self.patience.say_again)
            if asyncio.get_running_loop().time() >= end:
                await self._until(laggards, 0)
                break
            await self._queue.run(_say_authorities)
        self._say("settling", self._answer.laggards)
        await asyncio.sleep(self.patience.settle)

    async def _revoke(self, order: AuthorityOrder) -> None:
        self._say("revoking", self._answer.laggards)
        away = await self._away()
        while (seq := await self._queue.run(self._commit(order))) is None:
            await asyncio.sleep(_RETRY)
        if seq:
            self._answer.revocation_seq, self._answer.successor = seq, self._successor_name()
            self._answer.away.extend(away)
            self._answer.finished = True
            self._say("revoked", self._answer.laggards)
            _log.event("authority.revoked", authority=order.authority.hex(), seq=seq, away=len(away))

    def _commit(self, order: AuthorityOrder) -> Command:
        """The revocation, the state and the root's CRL in one transaction. Finishes with the revocation's seq; None:
        the CRL would be the second one of its second; 0: the authority is active again, or for the first time."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            record = next(a for a in tx.authorities.all() if a.key_id == order.authority)
            if record.state is AuthorityState.ACTIVE:
                return lambda: 0
            if not self._authorities.renew_root_crl(tx, changes, also=(record.certificate, order.reason)):
                return lambda: None
            seq = append_revocation(
                self._state, tx, changes, RevocationKind.AUTHORITY, order.authority,
                cut_offs={order.authority: None}, reason=order.reason, blocks=False, actor=order.actor,
                note=order.note, alive_until=record.certificate.not_valid_after_utc + REVOCATION_OUTLIVES,
            )  # fmt: skip
            tx.authorities.update(replace(record, state=AuthorityState.REVOKED))
            close_order(tx, self._state.ca_id)
            now = self._state.clock()
            tx.audit.add(audit.row(now, order.actor, "authority.revoke", order.authority.hex(), detail={"seq": seq}))
            return lambda: seq

        return command

    # -- others --------------------------------------------------------------------------------------------------------

    async def _until(self, laggards: Callable[[], list[str]], seconds: float) -> bool:
        """Wait until nobody is named any more, or for the time; who is named is shown to whoever follows."""

        def is_over() -> bool:
            names = laggards()
            if names[:100] != list(self._answer.laggards):
                del self._answer.laggards[:]
                self._answer.laggards.extend(names[:100])
            return not names

        return await self._propagation.until(is_over, seconds)

    async def _away(self) -> list[str]:
        """Agents and daemons that have certificates alive, all of them of the authority, and are not connected."""
        key_id, now = bytes.fromhex(self._answer.authority), self._state.clock()
        holders = await asyncio.to_thread(lambda: self._slow_reader.ledger.holders_of_authority(key_id, at=now))
        connected = set(self._feeds.connected)
        return [str(holder) for holder in holders if str(holder) not in connected]

    def _record(self, order: AuthorityOrder) -> AuthorityRecord:
        return find_issuing(self._state, order.authority.hex())

    def _successor_name(self) -> str:
        return next((a.key_id.hex() for a in self._state.own_authorities if a.state is AuthorityState.ACTIVE), "")

    def _say(self, step: str, laggards: object = ()) -> None:
        self._answer.step = step
        if not laggards:
            del self._answer.laggards[:]
        self._progress.moved()


def _say_authorities(tx: Transaction, changes: Changes) -> Finish:
    """The domain feed says the authorities once more."""
    changes.authorities = True
    return lambda: None
