"""How the signer answers a request: from the queue, at once, or later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from inborn._internal.host.log import get_logger
from inborn._internal.wire.access import CallerClass, check
from inborn._internal.wire.methods import find_method
from inborn.errors import InbornError, InternalError, NotFoundError
from inborn_ca.link.link import Incoming
from inborn_ca.signer.queue import Command, Job, Queue, Refusal

__all__ = ["Call", "Calls", "Direct", "Later", "Queued"]

_log = get_logger("ca.calls")


@dataclass(frozen=True, slots=True)
class Queued:
    """Becomes a command of the queue."""

    command: Callable[[Any, str], Command]
    refusal: Callable[[Any, str], Refusal | None] = lambda message, actor: None
    needs_savepoint: bool = True
    lane: Callable[[Any, str], bytes] = lambda message, actor: actor.encode()


@dataclass(frozen=True, slots=True)
class Direct:
    """Is answered at once, from memory or with a short read."""

    answer: Callable[[Any, str], Message]


@dataclass(frozen=True, slots=True)
class Later:
    """Is answered by a coroutine: it waits for something, or reads at length in a thread of its own."""

    answer: Callable[[Any, str], Awaitable[Message]]


Call = Queued | Direct | Later


class Calls:
    """Dispatches what arrived in one read, so that all of it may be one group."""

    def __init__(self, queue: Queue, table: Mapping[str, Call]) -> None:
        self._queue = queue
        self._table = table
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, requests: Sequence[Incoming], *, caller: CallerClass, actor: str) -> None:
        """Answer each request, now or later. Who may call what is looked up for each."""
        for request in requests:
            try:
                self._take(request, caller, actor)
            except InbornError as e:
                request.fail(e)
            except Exception:
                _log.exception("call.failed", method=request.method)
                request.fail(InternalError(f"internal error in {request.method[:100]}"))

    def _take(self, request: Incoming, caller: CallerClass, actor: str) -> None:
        check(request.method, caller)
        call = self._table.get(request.method)
        if call is None:
            raise NotFoundError(f"the signer does not offer {request.method[:100]!a}")
        message = request.parse(find_method(request.method).request)
        match call:
            case Direct():
                request.reply(call.answer(message, actor))
            case Queued():
                self._queue.submit(
                    Job(
                        command=call.command(message, actor),
                        answer=request.reply,
                        fail=request.fail,
                        refusal=call.refusal(message, actor),
                        needs_savepoint=call.needs_savepoint,
                        lane=call.lane(message, actor),
                        octets=len(request.body),
                    )
                )
            case Later():
                task = asyncio.get_running_loop().create_task(self._later(request, call, message, actor))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _later(self, request: Incoming, call: Later, message: Message, actor: str) -> None:
        try:
            request.reply(await call.answer(message, actor))
        except InbornError as e:
            request.fail(e)
        except Exception:
            _log.exception("call.failed", method=request.method)
            request.fail(InternalError(f"internal error in {request.method}"))
