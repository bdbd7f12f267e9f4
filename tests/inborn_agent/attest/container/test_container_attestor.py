"""Attesting containers of a real engine, and processes that are none."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import PinMode, PinnedProcess, pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestors
from inborn_agent.attest.container.attestor import attest_container
from inborn_agent.attest.container.engine import Container, EngineError
from inborn_agent.relay.relay_limits import RelayLimits
from tests.inborn_agent.relay.fixtures_relay import CALLER, RelayRig
from tests.rigs.fixtures_docker import DockerEngine

ID = "7cd5" * 16


def selectors_of(process: PinnedProcess, client: EngineClient) -> set[str]:
    return set(map(str, attest_container(process, client).selectors))


class SilentEngine(EngineClient):
    """Must not be asked."""

    def container(self, id_: str) -> Container | None:
        raise AssertionError("the engine was asked")


def test_a_process_of_the_host_costs_no_call() -> None:
    with pin_pid(os.getpid()) as process:
        evidence = attest_container(process, SilentEngine())
    assert (evidence.selectors, evidence.hints) == (frozenset(), ())


@pytest.fixture
def claimant(tmp_path: Path) -> Iterator[PinnedProcess]:
    """A process whose control group speaks of a container, read from a directory that stands for its own."""
    (tmp_path / "cgroup").write_text(f"0::/docker/{ID}\n")
    process = PinnedProcess(
        pid=os.getpid(),
        peer_pid=os.getpid(),
        uid=os.geteuid(),
        gid=os.getegid(),
        pidfd=os.pidfd_open(os.getpid()),
        dirfd=os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY),
        proc=str(tmp_path),
        mode=PinMode.PIDFD_OPEN,
    )
    yield process
    process.close()


class ScriptedEngine(EngineClient):
    """Gives one answer after another."""

    def __init__(self, *answers: Container | EngineError | None) -> None:
        super().__init__("/nowhere")
        self.answers = list(answers)

    def container(self, id_: str) -> Container | None:
        answer = self.answers.pop(0)
        if isinstance(answer, EngineError):
            raise answer
        return answer


def answer(*, pid: int = 1, started_at: str = "then", labels: dict[str, str] | None = None) -> Container:
    return Container(
        id=ID,
        pid=pid,
        started_at=started_at,
        image_digest="sha256:" + "0" * 64,
        image="app:1",
        labels=labels or {},
        env=("A=b",),
    )


def put_first_process(tmp_path: Path, cgroup: str, pid: int = 1) -> None:
    directory = tmp_path / str(pid)
    directory.mkdir()
    (directory / "cgroup").write_text(cgroup)


def test_a_container_that_engine_and_kernel_agree_on_gives_its_selectors(
    claimant: PinnedProcess, tmp_path: Path
) -> None:
    put_first_process(tmp_path, f"0::/docker/{ID}\n")
    assert selectors_of(claimant, ScriptedEngine(answer(labels={"a": "b"}), answer())) == {
        "docker:image_config_digest:sha256:" + "0" * 64,
        "docker:image_id:app:1",
        "docker:label:a:b",
        "docker:env:A=b",
    }


@pytest.mark.parametrize(
    ("answers", "hint"),
    [
        ([None], "the engine runs no container 7cd57cd57cd5"),
        ([EngineError("the engine hangs")], "the engine hangs"),
        ([answer(), None], "ended or was started anew meanwhile"),
        ([answer(), answer(started_at="later")], "was started anew meanwhile"),
        ([answer(), answer(pid=2)], "was started anew meanwhile"),
        ([answer(pid=3)], "ended meanwhile"),
    ],
    ids=["unknown", "hangs", "stopped", "restarted", "another_pid", "no_such_process"],
)
def test_any_disagreement_leaves_the_facts_out_with_a_hint(
    claimant: PinnedProcess, tmp_path: Path, answers: list[Container | EngineError | None], hint: str
) -> None:
    put_first_process(tmp_path, f"0::/docker/{ID}\n")
    evidence = attest_container(claimant, ScriptedEngine(*answers))
    assert evidence.selectors == frozenset()
    assert len(evidence.hints) == 1
    assert hint in evidence.hints[0]


def test_labels_that_are_no_selectors_and_labels_without_end_are_left_out(
    claimant: PinnedProcess, tmp_path: Path
) -> None:
    put_first_process(tmp_path, f"0::/docker/{ID}\n")
    labels = {f"l{n:05}": "x" for n in range(2000)} | {"a": "two\nlines", "b": "x" * 2000}
    evidence = attest_container(claimant, ScriptedEngine(answer(labels=labels), answer()))
    assert len(evidence.selectors) == 512
    assert "docker:image_config_digest:sha256:" + "0" * 64 in set(map(str, evidence.selectors))
    assert len(evidence.hints) == 3


@pytest.mark.docker
class TestRealEngine:
    def test_a_container_has_its_label_environment_image_and_digest(
        self, docker_engine: DockerEngine, docker_image: str
    ) -> None:
        id_ = docker_engine.start(docker_image, options=("--label", "app=web:1", "--env", "COLOUR=red"))
        digest = docker_engine.docker("image", "inspect", "--format", "{{.Id}}", docker_image)
        with pin_pid(docker_engine.pid(id_)) as process:
            assert {
                "docker:label:com.example.team:payments",
                "docker:label:app:web:1",
                "docker:env:APP_ENV=test",
                "docker:env:COLOUR=red",
                f"docker:image_id:{docker_image}",
                f"docker:image_config_digest:{digest}",
            } <= selectors_of(process, EngineClient(docker_engine.socket))
        docker_engine.remove(id_)

    def test_a_second_process_of_a_container_has_the_same_selectors(
        self, docker_engine: DockerEngine, docker_image: str
    ) -> None:
        client = EngineClient(docker_engine.socket)
        id_ = docker_engine.start(docker_image, "sh", "-c", "sleep 600 & wait")
        pids = [int(line.split()[0]) for line in docker_engine.docker("top", id_, "-o", "pid").splitlines()[1:]]
        assert len(pids) == 2
        found = []
        for pid in pids:
            with pin_pid(pid) as process:
                found.append(selectors_of(process, client))
        assert found[0] == found[1] != set()
        docker_engine.remove(id_)

    def test_two_containers_are_told_apart(self, docker_engine: DockerEngine, docker_image: str) -> None:
        client = EngineClient(docker_engine.socket)
        for colour in ("red", "blue"):
            id_ = docker_engine.start(docker_image, options=("--label", f"colour={colour}"))
            with pin_pid(docker_engine.pid(id_)) as process:
                assert f"docker:label:colour:{colour}" in selectors_of(process, client)
            docker_engine.remove(id_)

    def test_a_container_whose_engine_is_away_has_no_docker_facts(
        self, docker_engine: DockerEngine, docker_image: str, tmp_path: Path
    ) -> None:
        id_ = docker_engine.start(docker_image)
        with pin_pid(docker_engine.pid(id_)) as process:
            evidence = attest_container(process, EngineClient(str(tmp_path / "none")))
        assert evidence.selectors == frozenset()
        assert "does not answer" in evidence.hints[0]
        docker_engine.remove(id_)


def interpreter_directories() -> list[str]:
    """What a container has to see of the host for this very interpreter to run there, none inside another."""
    directories = sorted({"/usr", sys.prefix, sys.base_prefix})
    return [one for one in directories if not any(one.startswith(other + "/") for other in directories)]


@pytest.mark.docker
@pytest.mark.root
class TestThroughTheRelay:
    @pytest.fixture
    async def attestor(self, docker_engine: DockerEngine) -> AsyncIterator[WorkloadAttestors]:
        attestor = WorkloadAttestors(engines=[EngineClient(docker_engine.socket)])
        yield attestor
        attestor.close()

    @pytest.fixture
    def relay_limits(self) -> RelayLimits:
        return RelayLimits()

    async def test_a_container_that_connects_is_known_by_user_program_and_container(
        self, relay_rig: RelayRig, docker_engine: DockerEngine, docker_image: str
    ) -> None:
        options = ("--volume", f"{relay_rig.path.parent}:/run/inborn")
        for directory in interpreter_directories():
            options += ("--volume", f"{directory}:{directory}:ro")
        become = "os.setgroups([]); os.setgid(5678); os.setuid(1234)\n"
        command = (sys.executable, "-I", "-S", "-c", CALLER + become + "s = connect(); prove(s); wait_for_end(s)")
        id_ = await asyncio.to_thread(
            docker_engine.start, docker_image, *command, "/run/inborn/api.sock", options=options
        )
        connection = await relay_rig.connection()
        selectors = set(map(str, connection.evidence.selectors))
        assert {
            "unix:uid:1234",
            "unix:gid:5678",
            f"unix:path:{os.path.realpath(sys.executable)}",
            "docker:label:com.example.team:payments",
            f"docker:image_id:{docker_image}",
        } <= selectors
        assert connection.evidence.hints == ()
        await asyncio.to_thread(docker_engine.remove, id_)
        await asyncio.wait_for(connection.closed.wait(), 30)

    async def test_grpc_in_a_container_gets_through(
        self, relay_rig: RelayRig, docker_engine: DockerEngine, docker_image: str
    ) -> None:
        """Another PID namespace, an unmodified client: its PING is answered, its bytes arrive."""
        options = ("--volume", f"{relay_rig.path.parent}:/run/inborn")
        for directory in interpreter_directories():
            options += ("--volume", f"{directory}:{directory}:ro")
        code = "import grpc; grpc.insecure_channel('unix:/run/inborn/api.sock').unary_unary('/t.T/Who')(b'')"
        command = (sys.executable, "-c", code)
        id_ = await asyncio.to_thread(docker_engine.start, docker_image, *command, options=options)
        reader, writer = await relay_rig.stream()
        assert (await reader.readexactly(24)).startswith(b"PRI * HTTP/2.0")
        writer.close()
        await asyncio.to_thread(docker_engine.remove, id_)
