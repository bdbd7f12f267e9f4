"""All attestors together: facts of one living process, and nobody held up by somebody else's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import IdentityChanged, PinMode, PinnedProcess, ProcessGone, pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestor, attest_unix
from inborn_agent.attest.engine import Container, EngineError
from tests.inborn_agent.relay.fixtures_relay import caller, tell

ID = "7cd5" * 16

MakeProcess = Callable[..., PinnedProcess]


@pytest.fixture
def make_process(tmp_path: Path) -> Iterator[MakeProcess]:
    """Make pinned processes of any user, read from directories that stand for theirs below /proc."""
    made: list[PinnedProcess] = []

    def make(*, uid: int = 1000, gid: int = 1000, groups: str = "", cgroup: str = "0::/\n") -> PinnedProcess:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        status = f"Name:\tx\nUid:\t0\t{uid}\t0\t0\nGid:\t0\t{gid}\t0\t0\nGroups:\t{groups} \n"
        (directory / "status").write_text(status)
        (directory / "cgroup").write_text(cgroup)
        (directory / "exe").symlink_to(sys.executable)
        process = PinnedProcess(
            pid=os.getpid(),
            peer_pid=os.getpid(),
            uid=uid,
            gid=gid,
            pidfd=os.pidfd_open(os.getpid()),
            dirfd=os.open(directory, os.O_RDONLY | os.O_DIRECTORY),
            proc=str(tmp_path),
            mode=PinMode.PIDFD_OPEN,
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.close()


def texts(process: PinnedProcess) -> set[str]:
    return {str(selector) for selector in attest_unix(process).selectors}


def test_uid_and_gid_are_the_effective_ones_and_named_where_they_have_names(make_process: MakeProcess) -> None:
    assert {"unix:uid:0", "unix:user:root", "unix:gid:0", "unix:group:root"} <= texts(make_process(uid=0, gid=0))
    nameless = texts(make_process(uid=3_999_999, gid=3_999_998))
    assert {"unix:uid:3999999", "unix:gid:3999998"} <= nameless
    assert not any(text.startswith(("unix:user:", "unix:group:")) for text in nameless)


def test_supplementary_groups_have_numbers_and_names(make_process: MakeProcess) -> None:
    found = texts(make_process(groups="0 3999999"))
    assert {
        "unix:supplementary_gid:0",
        "unix:supplementary_group:root",
        "unix:supplementary_gid:3999999",
    } == {text for text in found if text.startswith("unix:supplementary")}


def test_more_groups_than_anybody_has_are_left_out_whole_with_a_hint(make_process: MakeProcess) -> None:
    evidence = attest_unix(make_process(groups=" ".join(map(str, range(100_000, 100_129)))))
    assert not any("supplementary" in selector.value for selector in evidence.selectors)
    assert evidence.hints == ("supplementary groups left out: the process is in 129, the limit is 128",)


def test_a_changed_user_is_refused(make_process: MakeProcess) -> None:
    process = make_process(uid=1000)
    process.uid = 1001
    with pytest.raises(IdentityChanged, match="was uid 1001 gid 1000 and is uid 1000 gid 1000"):
        attest_unix(process)


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
    attestor = WorkloadAttestor(engines=[engine])
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
    attestor = WorkloadAttestor(engines=[engine])
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
    attestor = WorkloadAttestor()
    callers.append(caller("wait_for_line()", "-"))
    with pin_pid(callers[0].pid) as process:
        assert (await attestor.attest(process)).executable == await attestor.executable_id(process)
        tell(callers[0])
        callers[0].wait()
        with pytest.raises(ProcessGone):
            await attestor.attest(process)
    attestor.close()
