"""What happens when a workload no longer qualifies: it is given nothing more, and, where the entry says so, what it had
is revoked.

A process that was given an SVID of such an entry is watched to its end, by a pidfd of our own, also after it has closed
its connection. It is lost when it ends, when it has become another program, and when it is attested anew and lacks what
the entry or a rule wants. What nobody else on this node holds is forgotten at once, key and all, and revoked as soon as
the CA can be asked.

What this does not do. A fact that cannot be read now, though it could be when the SVID was given, ends the giving and
revokes nothing: an engine that is restarted must not take every container's identity along. Who holds what is known in
memory alone: what ends while the agent is down is not noticed, and what could not be revoked before the agent ends
lives to its end.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
import random
import select
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from inborn.enrollment import AuthorityClient
from inborn.errors import DeniedError, InbornError, RequestError, UnauthenticatedError
from inborn.log import get_logger
from inborn.peer import IdentityChanged, PinnedProcess, ProcessGone
from inborn.rotation import retry_delay
from inborn.selector import Selector
from inborn_agent.callers import Caller, attested_selectors
from inborn_agent.holders import Holders, Orphan
from inborn_agent.live import LiveCache
from inborn_agent.slots import Held

__all__ = ["Losses"]

_log = get_logger("agent.losses")

MAX_WATCHED = 2048
"""Processes, each with a descriptor: as many as a relay takes connections."""

MAX_BATCH = 500
"""Serials in one request: what the CA takes."""

_CESSATION_OF_OPERATION, _PRIVILEGE_WITHDRAWN = 5, 9  # RFC 5280 5.3.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revocation:
    serial: bytes
    not_after: dt.datetime
    reason: int
    note: str


@dataclass(slots=True)
class _Watched:
    number: int
    pid: int
    pidfd: int
    hints: frozenset[str]
    """What could not be read of the process when it was last given something."""


class Losses:
    """Belongs to one event loop. `client` gives the CA's client, once there is one."""

    def __init__(
        self,
        live: LiveCache,
        client: Callable[[], Awaitable[AuthorityClient]],
        *,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._live = live
        self._client = client
        self._spread = spread
        self._holders = Holders()
        self._watched: dict[int, _Watched] = {}
        self._numbers = itertools.count(1)
        self._queue: deque[_Revocation] = deque()
        self._queued = asyncio.Event()

    def __len__(self) -> int:
        """How many processes are watched."""
        return len(self._watched)

    async def attest(self, caller: Caller) -> frozenset[Selector]:
        """What the caller is now. Raises `DeniedError` if it has ended or has become somebody else."""
        try:
            selectors = await attested_selectors(caller)
        except IdentityChanged:
            watched = self._find(caller.process)
            if watched is not None:
                self._lose(watched, None, _PRIVILEGE_WITHDRAWN, "the process became another program or user")
            raise
        self._look(caller, selectors)
        return selectors

    def gave(self, caller: Caller, held: Iterable[Held]) -> None:
        """The caller is about to be given these."""
        kept = [h for h in held if h.entry.revoke_when_lost]
        if not kept:
            return
        watched = self._watch(caller)
        if watched is None:
            return
        watched.hints = frozenset(caller.evidence.hints)
        for h in kept:
            self._holders.gave(watched.number, h.entry.id, h.svid.facts.serial, h.svid.facts.not_after)

    async def run(self) -> None:
        """Revoke what is to be revoked, until cancelled."""
        failures = 0
        try:
            while True:
                await self._queued.wait()
                batch = self._take_batch()
                if not batch:
                    self._queued.clear()
                    continue
                failures = 0 if await self._revoke(batch) else failures + 1
                if failures:
                    pause = retry_delay(failures, remaining=dt.timedelta(0), spread=self._spread())
                    await asyncio.sleep(pause.total_seconds())
        finally:
            for watched in list(self._watched.values()):
                self._unwatch(watched)

    # Who is watched.

    def _find(self, process: PinnedProcess) -> _Watched | None:
        """The same process, and not a former one of its number."""
        watched = self._watched.get(process.pid)
        return watched if watched is not None and _is_alive(watched.pidfd) else None

    def _watch(self, caller: Caller) -> _Watched | None:
        process = caller.process
        if (known := self._find(process)) is not None:
            return known
        former = self._watched.get(process.pid)
        if former is not None:
            self._ended(former)
        if len(self._watched) >= MAX_WATCHED:
            _log.warning("holder.not_watched", pid=process.pid, reason=f"{MAX_WATCHED} are watched already")
            return None
        try:
            pidfd = process.duplicate_pidfd()
        except (ProcessGone, OSError) as error:
            _log.warning("holder.not_watched", pid=process.pid, reason=str(error))
            return None
        watched = _Watched(next(self._numbers), process.pid, pidfd, frozenset())
        self._watched[process.pid] = watched
        asyncio.get_running_loop().add_reader(pidfd, self._ended, watched)
        return watched

    def _unwatch(self, watched: _Watched) -> None:
        if self._watched.get(watched.pid) is watched:
            del self._watched[watched.pid]
            asyncio.get_running_loop().remove_reader(watched.pidfd)
            os.close(watched.pidfd)

    # Who is lost.

    def _ended(self, watched: _Watched) -> None:
        self._lose(watched, None, _CESSATION_OF_OPERATION, "the process ended")
        self._unwatch(watched)

    def _look(self, caller: Caller, selectors: frozenset[Selector]) -> None:
        """Whether the caller still qualifies for all that it holds."""
        watched = self._find(caller.process)
        if watched is None:
            return
        self._holders.expire(self._live.now())
        for entry_id in self._holders.entries_of(watched.number):
            entry = self._live.cache.entries.get(entry_id)
            if entry is None or entry.is_matched_by(selectors):
                continue
            lacks = [str(fact) for fact in (*entry.missing(selectors), *entry.unmet(selectors))]
            if set(caller.evidence.hints) - watched.hints:
                _log.warning("holder.unsure", pid=watched.pid, spiffe_id=entry.spiffe_id, lacks=" ".join(lacks))
                continue
            self._lose(watched, entry_id, _PRIVILEGE_WITHDRAWN, f"the process no longer shows {lacks[0]}")
        if watched.number not in self._holders:
            self._unwatch(watched)

    def _lose(self, watched: _Watched, entry_id: str | None, reason: int, note: str) -> None:
        now = self._live.now()
        for orphan in self._holders.lost(watched.number, entry_id):
            entry = self._live.cache.entries.get(orphan.entry_id)
            if entry is None or not entry.revoke_when_lost or orphan.not_after <= now:
                continue  # a deleted entry's certificates live to their end, and an admin may have thought better of it
            _log.event("svid.lost", spiffe_id=entry.spiffe_id, serial=orphan.serial.hex(), pid=watched.pid, reason=note)
            self._live.forget(orphan.entry_id, orphan.serial, note)
            self._enqueue(orphan, reason, note)

    # What is revoked.

    def _enqueue(self, orphan: Orphan, reason: int, note: str) -> None:
        self._queue.append(
            _Revocation(serial=orphan.serial, not_after=orphan.not_after, reason=reason, note=note[:1000])
        )
        self._queued.set()

    def _take_batch(self) -> list[_Revocation]:
        """What can be asked for in one request; what has expired meanwhile is forgotten."""
        now = self._live.now()
        waiting = [item for item in self._queue if item.not_after > now]
        batch = [item for item in waiting if (item.reason, item.note) == (waiting[0].reason, waiting[0].note)]
        batch = batch[:MAX_BATCH]
        taken = {item.serial for item in batch}
        self._queue = deque(item for item in waiting if item.serial not in taken)
        return batch

    async def _revoke(self, batch: Sequence[_Revocation]) -> bool:
        """False: it is to be tried again, later."""
        try:
            client = await self._client()
            await client.revoke([item.serial for item in batch], batch[0].reason, batch[0].note)
        except UnauthenticatedError as error:
            return self._try_again(batch, error)
        except (DeniedError, RequestError) as error:
            if len(batch) > 1:
                # All of a request or nothing of it: one at a time, so that one that is refused stops no other.
                for item in batch:
                    await self._revoke([item])
                return True
            _log.warning("lost.not_revoked", serial=batch[0].serial.hex(), kind=error.kind, reason=error.message)
        except InbornError as error:
            return self._try_again(batch, error)
        else:
            _log.event("lost.revoked", certificates=len(batch), reason=batch[0].note)
        return True

    def _try_again(self, batch: Sequence[_Revocation], error: InbornError) -> bool:
        _log.warning("lost.not_revoked_yet", certificates=len(batch), kind=error.kind, reason=error.message)
        self._queue.extend(batch)
        self._queued.set()
        return False


def _is_alive(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)
