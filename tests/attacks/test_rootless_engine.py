"""An ordinary user's container engine that lies: its word is that user's, and counts for his processes alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.trust import has_party_boundary, trust_class
from inborn_agent.attest import EngineClient, WorkloadAttestors
from tests.inborn_agent.relay.fixtures_relay import caller
from tests.rigs.fixtures_docker import DockerEngine

USER, OTHER = 65534, 65533
ID = "7cd5" * 16
DIGEST = "sha256:" + "ab" * 32

# Says of every id that it is asked for that it is a container, whose first process is the one it was told of.
LIAR = r"""
import json
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
say("listens")
pid = int(wait_for_line())
while True:
    connection, _ = listener.accept()
    id_ = connection.recv(65536).split(b"/")[2].decode()
    body = json.dumps(REPLY | {"Id": id_, "State": {"Running": True, "Pid": pid, "StartedAt": "then"}}).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    connection.close()
"""
REPLY = {"Image": DIGEST, "Config": {"Image": "victim:1", "Labels": {"app": "victim"}, "Env": ["APP_ENV=prod"]}}


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that has a container's id for a name."""
    roots = [
        path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if (path / "cgroup.procs").exists()
    ]
    if not roots:
        pytest.skip("needs cgroup2: not mounted")
    directory = roots[0] / f"libpod-{ID}.scope"
    directory.mkdir()
    yield directory
    directory.rmdir()


@pytest.fixture
def processes(group: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Ended before the control group is removed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def member(group: Path, uid: int, processes: list[subprocess.Popen[str]], then: str = "") -> int:
    """A process of that user in the group."""
    code = f"""
with open({str(group / "cgroup.procs")!r}, "w") as file:
    file.write(str(os.getpid()))
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
{then}
say("there")
wait_for_line()
"""
    processes.append(caller(code, "-"))
    assert processes[-1].stdout is not None
    assert processes[-1].stdout.readline() == "there\n"
    return processes[-1].pid


def liar(directory: Path, pid: int, processes: list[subprocess.Popen[str]]) -> EngineClient:
    """An engine of that user, which calls that process a container."""
    own = directory / "user"
    own.mkdir()
    os.chown(own, USER, USER)
    code = LIAR.replace("import json\n", f"import json\nREPLY = json.loads({json.dumps(REPLY)!r})\n")
    code = code.replace("listener =", f"os.setgroups([]); os.setgid({USER}); os.setuid({USER})\nlistener =", 1)
    processes.append(caller(code, own / "podman.sock"))
    assert processes[-1].stdout is not None
    assert processes[-1].stdin is not None
    assert processes[-1].stdout.readline() == "listens\n"
    processes[-1].stdin.write(f"{pid}\n")
    processes[-1].stdin.flush()
    return EngineClient(str(own / "podman.sock"), owner_uid=USER)


async def facts(pid: int, *engines: EngineClient) -> tuple[set[str], tuple[str, ...]]:
    attestor = WorkloadAttestors(engines=engines)
    with pin_pid(pid) as process:
        evidence = await attestor.attest(process)
    attestor.close()
    rest = {selector for selector in evidence.selectors if selector.type not in ("unix", "posture")}
    assert not has_party_boundary(rest)
    assert all(trust_class(selector) is TrustClass.STARTER for selector in rest)
    return {str(selector) for selector in rest}, evidence.hints


@pytest.mark.root
class TestLies:
    async def test_a_digest_that_an_ordinary_users_engine_makes_up(
        self, short_directory: Path, group: Path, processes: list[subprocess.Popen[str]]
    ) -> None:
        """Named by the admin, it is believed about its user's processes; none of it is a `docker` fact."""
        pid = member(group, USER, processes)
        found, hints = await facts(pid, liar(short_directory, pid, processes))
        assert found == {
            f"rootless:image_config_digest:{DIGEST}",
            "rootless:image_id:victim:1",
            "rootless:label:app:victim",
            "rootless:env:APP_ENV=prod",
        }
        assert hints == ()

    async def test_a_process_of_another_user_that_an_engine_calls_its_own(
        self, short_directory: Path, group: Path, processes: list[subprocess.Popen[str]]
    ) -> None:
        pid = member(group, OTHER, processes)
        found, hints = await facts(pid, liar(short_directory, pid, processes))
        assert found == set()
        assert hints[0].endswith(f"the engine of uid {USER} speaks of a process that is not that user's")

    async def test_a_process_in_another_users_namespace(
        self, short_directory: Path, group: Path, processes: list[subprocess.Popen[str]]
    ) -> None:
        unshare = "assert ctypes.CDLL(None).unshare(0x10000000) == 0"
        pid = member(group, OTHER, processes, unshare)
        found, _hints = await facts(pid, liar(short_directory, pid, processes))
        assert found == set()

    async def test_one_that_is_not_named_is_not_asked(
        self, short_directory: Path, group: Path, processes: list[subprocess.Popen[str]]
    ) -> None:
        pid = member(group, USER, processes)
        named = liar(short_directory, pid, processes)
        found, hints = await facts(pid, EngineClient(named.socket_path))
        assert found == set()
        assert f"served by uid {USER}, only uid 0 is believed" in hints[0]

    async def test_a_first_process_that_lies_elsewhere(
        self, short_directory: Path, group: Path, processes: list[subprocess.Popen[str]]
    ) -> None:
        pid = member(group, USER, processes)
        found, hints = await facts(pid, liar(short_directory, os.getpid(), processes))
        assert found == set()
        assert hints[0].endswith(f"the process claims container {ID[:12]} and lies outside its control groups")


@pytest.mark.root
@pytest.mark.docker
async def test_a_container_of_roots_engine_that_an_ordinary_users_engine_claims_as_well(
    docker_engine: DockerEngine, docker_image: str, short_directory: Path, processes: list[subprocess.Popen[str]]
) -> None:
    """Root's engine is asked first, in whatever order they were named."""
    id_ = docker_engine.start(docker_image, options=("--user", str(USER)))
    pid = docker_engine.pid(id_)
    attestor = WorkloadAttestors(engines=[liar(short_directory, pid, processes), EngineClient(docker_engine.socket)])
    with pin_pid(pid) as process:
        found = {str(selector) for selector in (await attestor.attest(process)).selectors}
    attestor.close()
    assert f"docker:image_id:{docker_image}" in found
    assert not [one for one in found if one.startswith("rootless:")]
    docker_engine.remove(id_)
