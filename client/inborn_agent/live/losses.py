"""What happens when a workload no longer qualifies: it is given nothing more, and, where the entry says so, what it had
is revoked.

A process that was given an SVID of such an entry is pinned by us as well, and watched to its end, also after it has
closed its connection. It is lost when it ends; and when it has become another program or lacks what the entry or a
policy wants, which is seen whenever it is attested, and now and then without an occasion. What nobody else on this node
holds is forgotten at once, key and all, and revoked as soon as the CA can be asked.

What this does not do. exec() of the very same file is not seen, as little as another script in the same interpreter. A
fact that cannot be read now, though it could be when the SVID was given, ends the giving and revokes nothing: an engine
that is restarted must not take every container's identity along. Who holds what is known in memory alone: what ends
while the agent is down is not noticed, and what could not be revoked before the agent ends lives to its end.
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
from contextlib import ExitStack
from dataclasses import dataclass

from inborn._internal.host.log import get_logger
from inborn._internal.process.pinning import IdentityChanged, PinnedProcess
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.rotation import retry_delay
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError, InbornError, RequestError, UnauthenticatedError
from inborn_agent.attest import Evidence
from inborn_agent.attest.executable import ExecutableId
from inborn_agent.cache.holders import Holders, Orphan
from inborn_agent.cache.slots import Held
from inborn_agent.live.attested_callers import AttestedCaller, attested_selectors
from inborn_agent.live.live_cache import LiveCache
from inborn_member.authority_client import AuthorityClient

__all__ = ["Losses"]

_log = get_logger("agent.losses")

MAX_WATCHED = 1024
"""Processes, each with three descriptors: more than the daemons of any one machine."""

_PATIENCE = 10.0  # seconds to attest one: as long as a connection has

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
    process: PinnedProcess
    pidfd: int
    executable: ExecutableId | None = None
    hints: frozenset[str] = frozenset()
    """What it ran, and what could not be read of it, when it was last given something."""


class Losses:
    """Belongs to one event loop. `client` gives the CA's client, once there is one; `attest` reads facts."""

    def __init__(
        self,
        live: LiveCache,
        client: Callable[[], Awaitable[AuthorityClient]],
        attest: Callable[[PinnedProcess], Awaitable[Evidence]],
        *,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._live = live
        self._client = client
        self._attest = attest
        self._spread = spread
        self._holders = Holders()
        self._watched: dict[int, _Watched] = {}
        self._numbers = itertools.count(1)
        self._queue: deque[_Revocation] = deque()
        self._queued = asyncio.Event()

    def __len__(self) -> int:
        """How many processes are watched."""
        return len(self._watched)

    async def attest(self, caller: AttestedCaller) -> frozenset[Selector]:
        """What the caller is now. Raises `DeniedError` if it has ended or has become somebody else."""
        try:
            selectors = await attested_selectors(caller)
        except IdentityChanged:
            if (watched := self._find(caller.process)) is not None:
                await self._look_again(watched)
            raise
        if (watched := self._find(caller.process)) is not None:
            self._look(watched, caller.evidence)
        return selectors

    def gave(self, caller: AttestedCaller, held: Iterable[Held[X509Svid]]) -> None:
        """The caller is about to be given these."""
        kept = [h for h in held if h.entry.revoke_when_lost]
        if not kept:
            return
        watched = self._watch(caller)
        if watched is None:
            return
        watched.executable, watched.hints = caller.evidence.executable, frozenset(caller.evidence.hints)
        for h in kept:
            self._holders.gave(watched.number, h.entry.id, h.svid.facts.serial, h.svid.facts.not_after)

    async def run(self) -> None:
        """Look again now and then, and revoke what is to be revoked, until cancelled."""
        try:
            await asyncio.gather(self._run_looking(), self._run_revoking())
        finally:
            for watched in list(self._watched.values()):
                self._unwatch(watched)

    async def _run_looking(self) -> None:
        while True:
            await self._live.look_again.wait()
            self._live.look_again.clear()
            await asyncio.gather(*(self._look_again(watched) for watched in list(self._watched.values())))

    async def _run_revoking(self) -> None:
        failures = 0
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

    # Who is watched.

    def _find(self, process: PinnedProcess) -> _Watched | None:
        """The same process, and not a former one of its number."""
        watched = self._watched.get(process.pid)
        return watched if watched is not None and _is_alive(watched.pidfd) else None

    def _watch(self, caller: AttestedCaller) -> _Watched | None:
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
            pinned, pidfd = _pin_again(process)
        except (InbornError, OSError) as error:
            _log.warning("holder.not_watched", pid=process.pid, reason=str(error))
            return None
        watched = _Watched(number=next(self._numbers), process=pinned, pidfd=pidfd)
        self._watched[process.pid] = watched
        asyncio.get_running_loop().add_reader(pidfd, self._ended, watched)
        return watched

    def _unwatch(self, watched: _Watched) -> None:
        if self._watched.get(watched.process.pid) is watched:
            del self._watched[watched.process.pid]
            asyncio.get_running_loop().remove_reader(watched.pidfd)
            os.close(watched.pidfd)
            watched.process.close()

    # Who is lost.

    def _ended(self, watched: _Watched) -> None:
        self._lose(watched, None, _CESSATION_OF_OPERATION, "the process ended")
        self._unwatch(watched)

    def _changed(self, watched: _Watched) -> None:
        self._lose(watched, None, _PRIVILEGE_WITHDRAWN, "the process became another program or user")
        self._unwatch(watched)

    async def _look_again(self, watched: _Watched) -> None:
        """Attest it without an occasion; what keeps us from it says nothing about the process."""
        try:
            async with asyncio.timeout(_PATIENCE):
                evidence = await self._attest(watched.process)
        except IdentityChanged:
            self._changed(watched)
        except (InbornError, TimeoutError) as error:
            _log.warning("holder.unsure", pid=watched.process.pid, reason=str(error))
        else:
            self._look(watched, evidence)

    def _look(self, watched: _Watched, evidence: Evidence) -> None:
        """Whether the process still qualifies for all that it holds."""
        if _is_other_file(evidence.executable, watched.executable):
            self._changed(watched)
            return
        self._holders.expire(self._live.now())
        for entry_id in self._holders.entries_of(watched.number):
            entry = self._live.cache.entries.get(entry_id)
            if entry is None or entry.is_matched_by(evidence.selectors):
                continue
            lacks = [str(fact) for fact in (*entry.missing(evidence.selectors), *entry.unmet(evidence.selectors))]
            if set(evidence.hints) - watched.hints:
                _log.warning("holder.unsure", pid=watched.process.pid, reason=f"cannot be read: {' '.join(lacks)}")
                continue
            self._lose(watched, entry_id, _PRIVILEGE_WITHDRAWN, f"the process no longer shows {lacks[0]}")
        if watched.number not in self._holders:
            self._unwatch(watched)

    def _lose(self, watched: _Watched, entry_id: str | None, reason: int, note: str) -> None:
        now = self._live.now()
        for doubtful in self._holders.entries_of(watched.number) if entry_id is None else (entry_id,):
            self._live.doubt(doubtful)  # others may go on with it; this one is told so
        for orphan in self._holders.lost(watched.number, entry_id):
            entry = self._live.cache.entries.get(orphan.entry_id)
            if entry is None or not entry.revoke_when_lost or orphan.not_after <= now:
                continue  # a deleted entry's certificates live to their end, and an admin may have thought better of it
            _log.event(
                "svid.lost", spiffe_id=entry.spiffe_id, serial=orphan.serial.hex(), pid=watched.process.pid, reason=note
            )
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


def _pin_again(process: PinnedProcess) -> tuple[PinnedProcess, int]:
    """The same process under descriptors of our own, and one to wait for its end. Raises `InbornError`, `OSError`."""
    with ExitStack() as opened:
        descriptors = []
        for make in (process.duplicate_pidfd, lambda: process.open("."), process.duplicate_pidfd):
            descriptors.append(make())
            opened.callback(os.close, descriptors[-1])
        pinned = PinnedProcess(
            pid=process.pid,
            peer_pid=process.peer_pid,
            uid=process.uid,
            gid=process.gid,
            pidfd=descriptors[0],
            dirfd=descriptors[1],
            proc=process.proc,
            mode=process.mode,
        )
        opened.pop_all()
        return pinned, descriptors[2]


def _is_other_file(now: ExecutableId | None, before: ExecutableId | None) -> bool:
    """Not whether it was changed: the file of a running program is, when a package is upgraded."""
    return now is not None and before is not None and (now.device, now.inode) != (before.device, before.inode)


def _is_alive(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)
