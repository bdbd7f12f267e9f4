"""Worker threads in which attestors read, so that no disk and no engine holds up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Workers"]

# A thread can hang where an executable lies on a network file system that does not answer. Callers of one uid may
# take only so many, the rest of them wait.
THREADS_FOR_ONE_UID = 2

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """A thread pool in which no uid takes more than its part. Belongs to one event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: dict[int, _Turns] = {}

    async def run(self, uid: int, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call `function` in a thread on behalf of this uid; what it raises is raised. There is no deadline here."""
        turns = self._turns.setdefault(uid, _Turns())
        turns.users += 1
        try:
            await turns.semaphore.acquire()
        except BaseException:
            self._leave(uid, turns)
            raise
        try:
            work = asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))
        except BaseException:
            turns.semaphore.release()
            self._leave(uid, turns)
            raise

        def done(work: asyncio.Future[_T]) -> None:
            turns.semaphore.release()
            self._leave(uid, turns)
            if not work.cancelled():
                work.exception()  # the caller may have stopped waiting for it

        # The turn ends with the work, not with the waiting: a caller that hangs up frees no thread.
        work.add_done_callback(done)
        return await asyncio.shield(work)

    def close(self) -> None:
        """Take no more work. Does not wait for threads that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, uid: int, turns: _Turns) -> None:
        turns.users -= 1
        if turns.users == 0:
            del self._turns[uid]


class _Turns:
    def __init__(self) -> None:
        self.semaphore = asyncio.Semaphore(THREADS_FOR_ONE_UID)
        self.users = 0
