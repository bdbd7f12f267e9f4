"""All attestors together: facts of one living process, and nobody held up by somebody else's."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator

import pytest

from inborn._internal.process.pinning import ProcessGone, pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestors
from inborn_agent.attest.container.engine import Container, EngineError
from tests.inborn_agent.attest.fixtures_made_process import MakeProcess
from tests.inborn_agent.relay.fixtures_relay import caller, tell

ID = "7cd5" * 16


class HangingEngine(EngineClient):
    """Does not answer until it may."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.is_asked = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def container(self, id_: str) -> Container | None:
        self.is_asked.release()
        self.may_answer.wait(30)
        raise EngineError("at last")


@pytest.fixture
async def engine() -> AsyncIterator[HangingEngine]:
    engine = HangingEngine()
    yield engine
    engine.may_answer.set()


async def test_callers_of_one_uid_take_only_their_part_of_the_threads(
    make_process: MakeProcess, engine: HangingEngine
) -> None:
    attestor = WorkloadAttestors(engines=[engine])
    contained = f"0::/docker/{ID}\n"
    greedy = [asyncio.create_task(attestor.attest(make_process(uid=1000, cgroup=contained))) for _ in range(6)]
    for _ in range(2):
        assert await asyncio.to_thread(engine.is_asked.acquire, timeout=30)
    # Another uid's container still reaches the engine, the third one of this uid does not.
    other = asyncio.create_task(attestor.attest(make_process(uid=1001, cgroup=contained)))
    assert await asyncio.to_thread(engine.is_asked.acquire, timeout=30)
    assert not engine.is_asked.acquire(blocking=False)
    # A process of the host is not held up, not even one of the same uid.
    evidence = await asyncio.wait_for(attestor.attest(make_process(uid=1000)), 30)
    assert "unix:uid:1000" in {str(selector) for selector in evidence.selectors}
    engine.may_answer.set()
    for evidence in await asyncio.gather(*greedy, other):
        assert "docker selectors left out: at last" in evidence.hints
        assert "unix:gid:1000" in {str(selector) for selector in evidence.selectors}
    attestor.close()


async def test_giving_up_waiting_frees_no_thread_and_leaks_nothing(
    make_process: MakeProcess, engine: HangingEngine
) -> None:
    attestor = WorkloadAttestors(engines=[engine])
    contained = f"0::/docker/{ID}\n"
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attestor.attest(make_process(cgroup=contained)), 0.2)
    waiting = asyncio.create_task(attestor.attest(make_process(cgroup=contained)))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    engine.may_answer.set()
    assert "docker selectors left out: at last" in (await asyncio.wait_for(waiting, 30)).hints
    attestor.close()


async def test_a_process_that_ended_is_not_attested(callers: list[subprocess.Popen[str]]) -> None:
    attestor = WorkloadAttestors()
    callers.append(caller("wait_for_line()", "-"))
    with pin_pid(callers[0].pid) as process:
        assert (await attestor.attest(process)).executable == await attestor.executable_id(process)
        tell(callers[0])
        callers[0].wait()
        with pytest.raises(ProcessGone):
            await attestor.attest(process)
    attestor.close()
