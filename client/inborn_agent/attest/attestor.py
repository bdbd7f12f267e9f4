"""All workload attestors together, in worker threads, so that no disk and no engine holds up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from inborn._internal.process.pinning import FactUnreadable, PinnedProcess, ProcessGone
from inborn_agent.attest.cgroup import CgroupError
from inborn_agent.attest.container import attest_docker, claims_container, read_cgroups
from inborn_agent.attest.engine import EngineClient
from inborn_agent.attest.evidence import Evidence
from inborn_agent.attest.executable import DEFAULT_HASH_LIMIT, ExecutableId, executable_id
from inborn_agent.attest.host import Host
from inborn_agent.attest.posture_facts import attest_posture
from inborn_agent.attest.systemd import attest_systemd
from inborn_agent.attest.unix import attest_unix

__all__ = ["WorkloadAttestor"]

# Reading /proc and hashing an executable once: a few threads serve thousands of callers a second.
UNIX_THREADS = 8

# Of their own, so that an engine that hangs holds up nobody but the callers that live in containers.
DOCKER_THREADS = 4

# A thread can hang where an executable lies on a network file system that does not answer. Callers of one uid may
# take only so many, the rest of them wait.
THREADS_FOR_ONE_UID = 2

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkloadAttestor:
    """Gives the evidence about pinned processes. `engines` are those of containers, none where there are none.

    `proc` is where the host's procfs is mounted.
    """

    def __init__(
        self, *, engines: Sequence[EngineClient] = (), hash_limit: int = DEFAULT_HASH_LIMIT, proc: str = "/proc"
    ) -> None:
        # Root's first: nobody else's engine may speak for a container of theirs.
        self._engines = tuple(sorted(engines, key=lambda engine: engine.owner_uid != 0))
        self._hash_limit = hash_limit
        self._host = Host(proc=proc, engine_sockets=[engine.socket_path for engine in engines])
        self._unix = _Workers("attest-unix", UNIX_THREADS)
        self._docker = _Workers("attest-docker", DOCKER_THREADS)

    async def attest(self, process: PinnedProcess) -> Evidence:
        """Read all facts of `process`, which is alive before and after, so that they are facts of that process.

        Raises `ProcessGone`, and `IdentityChanged` if it no longer runs as the user it connected as. There is no
        deadline in here; give one, a thread that hangs is left behind.
        """
        _require_alive(process)
        evidence, is_container = await self._unix.run(process.uid, self._read_host_facts, process)
        if is_container and self._engines:
            evidence = evidence.joined_with(await self._docker.run(process.uid, attest_docker, process, *self._engines))
        _require_alive(process)
        return evidence

    async def executable_id(self, process: PinnedProcess) -> ExecutableId | None:
        """Say which file `process` runs, None if that cannot be read. In a thread: its file system may hang."""
        return await self._unix.run(process.uid, executable_id, process)

    def close(self) -> None:
        """Take no more work. Does not wait for threads that hang."""
        self._unix.close()
        self._docker.close()

    def _read_host_facts(self, process: PinnedProcess) -> tuple[Evidence, bool]:
        # The executable comes last: facts of what ran before it are then found out by whoever compares it.
        evidence = attest_posture(process, self._host)
        try:
            evidence = evidence.joined_with(attest_systemd(read_cgroups(process), self._host))
        except (CgroupError, FactUnreadable):
            pass  # claims_container sends it on to where the reason is told
        is_container = claims_container(process)
        return evidence.joined_with(attest_unix(process, hash_limit=self._hash_limit)), is_container


class _Workers:
    """A thread pool in which no uid takes more than its part. Belongs to one event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: dict[int, _Turns] = {}

    async def run(self, uid: int, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
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
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, uid: int, turns: _Turns) -> None:
        turns.users -= 1
        if turns.users == 0:
            del self._turns[uid]


class _Turns:
    def __init__(self) -> None:
        self.semaphore = asyncio.Semaphore(THREADS_FOR_ONE_UID)
        self.users = 0


def _require_alive(process: PinnedProcess) -> None:
    if not process.is_alive():
        raise ProcessGone(f"process {process.pid} ended before it was attested")
