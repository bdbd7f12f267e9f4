"""The signer's queue: groups, fairness between callers, limits, and whose error is whose."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from inborn.errors import DeniedError, ExhaustedError, InbornError, InternalError, UnavailableError
from inborn_ca.signer import queue as queue_module
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.consequences import Consequence, ConsequentialDenial, OpenAlarm
from inborn_ca.signer.queue import GroupHooks, Job, Queue

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


class Tx:
    def __init__(self) -> None:
        self.log: list[str] = []

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = len(self.log)
        try:
            yield
        except BaseException:
            del self.log[before:]
            raise


class Hooks(GroupHooks):
    """A store that is a list."""

    def __init__(self) -> None:
        self.committed_log: list[str] = []
        self.groups: list[int] = []
        self.failing: Exception | None = None
        self.undone = 0

    @contextmanager
    def begin(self) -> Iterator[Any]:  # type: ignore[override]
        tx = Tx()
        yield tx
        if self.failing is not None:
            raise self.failing
        self.committed_log += tx.log
        self.groups.append(len(tx.log))

    def keep(self, tx: Any, consequence: Consequence) -> None:
        assert isinstance(consequence, OpenAlarm)
        tx.log.append(f"{consequence.kind} of {consequence.subject}")

    def rolled_back(self) -> None:
        self.undone += 1


def writing(word: str, error: InbornError | None = None) -> Any:
    def command(tx: Any, changes: Changes) -> Any:
        tx.log.append(word)
        if error is not None:
            raise error
        return lambda: word

    return command


async def drain(queue: Queue) -> None:
    while len(queue):
        await asyncio.sleep(0)


def job(command: Any, into: list[Any], **fields: Any) -> Job:
    return Job(command=command, answer=into.append, fail=into.append, **fields)


async def test_what_arrives_together_is_one_group() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    for number in range(10):
        queue.submit(job(writing(str(number)), answers))
    await drain(queue)
    assert hooks.groups == [10]
    assert answers == [str(number) for number in range(10)]


async def test_caller_with_one_request_waits_for_one_group_of_another_with_thousands() -> None:
    hooks, flood, single = Hooks(), [], []
    queue = Queue(hooks)
    for _ in range(5000):
        queue.submit(job(writing("flood"), flood, lane=b"flood"))
    await asyncio.sleep(0)
    queue.submit(job(writing("single"), single, lane=b"single"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert single == ["single"]
    assert len(flood) <= 3 * queue_module.MAX_GROUP
    await drain(queue)
    assert len(flood) == 5000


async def test_requests_of_one_caller_keep_their_order() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    for number in range(1000):
        queue.submit(job(writing(f"{number % 3}:{number}"), answers, lane=bytes([number % 3])))
    await drain(queue)
    for lane in "012":
        mine = [int(a.partition(":")[2]) for a in answers if a.startswith(lane)]
        assert mine == sorted(mine)


async def test_a_group_is_bounded_by_its_work() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    for number in range(4):
        queue.submit(job(writing(str(number)), answers, octets=queue_module.MAX_GROUP_OCTETS))
    await drain(queue)
    assert hooks.groups == [1, 1, 1, 1]


async def test_too_many_requests_are_refused_at_once_and_others_find_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_WAITING_IN_LANE", 5)
    hooks, flood, other = Hooks(), [], []
    queue = Queue(hooks)
    for _ in range(8):
        queue.submit(job(writing("x"), flood, lane=b"flood"))
    queue.submit(job(writing("y"), other, lane=b"other"))
    assert [type(answer) for answer in flood] == [ExhaustedError] * 3
    await drain(queue)
    assert other == ["y"]


async def test_one_jobs_error_is_that_jobs_error_and_undoes_that_job_alone() -> None:
    hooks, good, bad = Hooks(), [], []
    queue = Queue(hooks)
    queue.submit(job(writing("a"), good))
    queue.submit(job(writing("b", DeniedError("no")), bad))
    queue.submit(job(writing("c"), good))
    await drain(queue)
    assert hooks.committed_log == ["a", "c"]
    assert good == ["a", "c"]
    assert isinstance(bad[0], DeniedError)


async def test_what_a_refusal_entails_is_kept() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    alarms = tuple(OpenAlarm(kind=kind, subject="b", message="no", at=NOW) for kind in ("first", "second"))
    queue.submit(job(writing("a"), answers))
    queue.submit(job(writing("b", ConsequentialDenial("no", consequences=alarms)), answers))
    queue.submit(job(writing("c"), answers))
    await drain(queue)
    assert hooks.committed_log == ["a", "first of b", "second of b", "c"]


async def test_what_is_no_consequence_of_a_refusal_is_nothing_to_the_queue() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    error = DeniedError("no", consequence=lambda tx, changes: tx.log.append("alarm"), consequences=("alarm",))
    queue.submit(job(writing("b", error), answers))
    await drain(queue)
    assert hooks.committed_log == []


async def test_a_store_that_fails_fails_the_group_and_the_next_one_works() -> None:
    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    hooks.failing = UnavailableError("disk is full")
    queue.submit(job(writing("a"), answers))
    queue.submit(job(writing("b"), answers))
    await drain(queue)
    assert [str(answer) for answer in answers] == ["disk is full"] * 2
    assert hooks.undone == 1
    assert queue.write_problem == "disk is full"
    hooks.failing = None
    answers.clear()
    queue.submit(job(writing("c"), answers))
    await drain(queue)
    assert (answers, hooks.committed_log) == (["c"], ["c"])
    assert queue.write_problem == ""


async def test_a_bug_is_an_internal_error_and_tells_nothing() -> None:
    def broken(tx: Any, changes: Changes) -> Any:
        raise ValueError("secret")

    hooks, answers = Hooks(), []
    queue = Queue(hooks)
    queue.submit(job(broken, answers))
    await drain(queue)
    assert isinstance(answers[0], InternalError)
    assert "secret" not in str(answers[0])
