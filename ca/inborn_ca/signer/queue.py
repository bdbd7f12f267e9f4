"""The signer's one queue, in natural batches.

Theory of operation. Whatever has arrived when the queue runs is one group, up to a limit of work, and a group is one
transaction with a full sync. Each caller has a lane, and a group takes one job of each lane in turn: a caller with ten
thousand requests delays one with a single request by one group and not by all of them. For each job, in its order: its
command runs in a savepoint of its own, so that one job's refusal is that job's alone, and gives back what is left to do
once everything is durable (sign, build the answer). Then the transaction commits; then all that was left is done; then
what changed is told to those who watch; then the answers go. No timer is involved: while a group is worked on, the next
one gathers.

A command must not change anything but the transaction and its `Changes`. What must be kept of a *refused* command (an
alarm, a renewal that is stopped) stands in the refusal as values, its `consequences`, which are written after the
savepoint is undone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inborn._internal.host.log import get_logger
from inborn.errors import ExhaustedError, InbornError, InternalError
from inborn_ca.model.records import AuditRow
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.consequences import Consequence, ConsequentialRefusal
from inborn_ca.store.interface import Transaction

__all__ = ["Command", "Finish", "GroupHooks", "Job", "Queue", "Refusal"]

_log = get_logger("ca.queue")

MAX_GROUP = 256  # jobs: 50 ms of work; a job that comes meanwhile waits for one group at most
MAX_GROUP_OCTETS = 128 * 1024  # of requests: as many certificates in batches; one larger job is a group of its own
MAX_WAITING = 20_000  # jobs: about 40 MiB of requests; more is refused at once with a clear error
MAX_WAITING_IN_LANE = 10_000  # jobs of one caller: half of all, so that others still find room

Finish = Callable[[], Any]
Command = Callable[[Transaction, Changes], Finish]


@dataclass(slots=True)
class Refusal:
    """What is kept of a refused job."""

    audit: Callable[[InbornError], AuditRow | None]
    """The audit row of a denial; None: it needs no row."""


@dataclass(slots=True)
class Job:
    """One command, who waits for it, and what is kept if it is refused."""

    command: Command
    answer: Callable[[Any], None]
    fail: Callable[[InbornError], None]
    refusal: Refusal | None = None
    needs_savepoint: bool = True
    """False for a command that writes nothing before all its refusals are behind it (10 us less)."""
    lane: bytes = b""
    """Whose turn it is: the caller's certificate, or an admin."""
    octets: int = 0
    """Size of the request, for how much work it is."""
    finish: Finish | None = None
    error: InbornError | None = None


class GroupHooks:
    """What the owner of the queue does around a group."""

    def begin(self) -> Any:
        """Give the context manager of a transaction."""
        raise InternalError("queue has no store")

    def applied(self, changes: Changes) -> None:
        """One command of a running group succeeded: what it changed holds for the next one."""

    def keep(self, tx: Transaction, consequence: Consequence) -> None:
        """A command was refused and undone: write what is kept of it."""

    def before_commit(self, tx: Transaction, changes: Changes) -> None:
        """Write what belongs to the group as a whole."""

    def rolled_back(self) -> None:
        """Nothing of the group happened: forget what `applied` was told."""

    def committed(self, changes: Changes) -> None:
        """Everything is durable and signed: tell those who watch."""


class Queue:
    """Runs jobs in groups on the event loop's own thread."""

    def __init__(self, hooks: GroupHooks) -> None:
        self._hooks = hooks
        self._lanes: OrderedDict[bytes, deque[Job]] = OrderedDict()
        self._waiting = 0
        self._scheduled = False
        self.write_problem = ""
        """Why the last group could not be written; empty: it could."""
        self.groups = 0
        self.jobs = 0

    def __len__(self) -> int:
        return self._waiting

    def submit(self, job: Job) -> None:
        """Add a job to the next group; refuses it at once when too many wait."""
        lane = self._lanes.setdefault(job.lane, deque())
        if self._waiting >= MAX_WAITING or len(lane) >= MAX_WAITING_IN_LANE:
            if not lane:
                del self._lanes[job.lane]
            job.fail(ExhaustedError(f"too many requests wait: {self._waiting}", hint="try again in a second"))
            return
        lane.append(job)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    async def run(self, command: Command, *, refusal: Refusal | None = None) -> Any:
        """Submit one command and wait for what it finishes with."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answer(result: Any) -> None:
            if not future.done():
                future.set_result(result)

        def fail(error: InbornError) -> None:
            if not future.done():
                future.set_exception(error)

        self.submit(Job(command=command, answer=answer, fail=fail, refusal=refusal))
        return await future

    def _run(self) -> None:
        group = self._next_group()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        else:
            self._scheduled = False
        self.process(group)

    def _next_group(self) -> list[Job]:
        """One job of each lane in turn, until there is enough work."""
        group: list[Job] = []
        octets = 0
        while self._lanes and len(group) < MAX_GROUP and octets < MAX_GROUP_OCTETS:
            name, lane = self._lanes.popitem(last=False)
            job = lane.popleft()
            group.append(job)
            octets += job.octets
            if lane:
                self._lanes[name] = lane
        self._waiting -= len(group)
        return group

    def process(self, group: list[Job]) -> None:
        """Work on one group to its end."""
        self.groups += 1
        self.jobs += len(group)
        changes = Changes()
        try:
            with self._hooks.begin() as tx:
                for job in group:
                    self._record(tx, job, changes)
                self._hooks.before_commit(tx, changes)
        except Exception as e:  # the store failed: nothing of the group happened
            self._hooks.rolled_back()
            error = e if isinstance(e, InbornError) else InternalError(f"store failed: {type(e).__name__}: {e}")
            self.write_problem = error.message
            _log.error("group.failed", error=error.message, jobs=len(group))
            for job in group:
                job.fail(error)
            return
        self.write_problem = ""
        results = [self._finish(job) for job in group]
        self._hooks.committed(changes)
        for job, result in zip(group, results, strict=True):
            if job.error is not None:
                job.fail(job.error)
            else:
                job.answer(result)

    def _record(self, tx: Transaction, job: Job, changes: Changes) -> None:
        own = Changes()
        try:
            if job.needs_savepoint:
                with tx.savepoint():
                    job.finish = job.command(tx, own)
            else:
                job.finish = job.command(tx, own)
        except InbornError as e:
            job.error = e
        except Exception as e:
            _log.exception("command.failed")
            job.error = InternalError(f"{type(e).__name__} in a command")
        if job.error is None:
            changes.merge(own)
            self._hooks.applied(own)
        else:
            self._keep(tx, job, job.error)

    def _keep(self, tx: Transaction, job: Job, error: InbornError) -> None:
        if isinstance(error, ConsequentialRefusal):
            for consequence in error.consequences:
                self._hooks.keep(tx, consequence)
        row = job.refusal.audit(error) if job.refusal is not None else None
        if row is not None:
            tx.audit.add_denial(row)

    def _finish(self, job: Job) -> Any:
        if job.error is not None or job.finish is None:
            return None
        try:
            return job.finish()
        except InbornError as e:
            job.error = e
        except Exception as e:
            _log.exception("finish.failed")
            job.error = InternalError(f"{type(e).__name__} after the commit")
        return None
