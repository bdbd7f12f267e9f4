"""Attempts to be taken for a container that one is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import EngineClient
from inborn_agent.attest.cgroup import container_id, parse_cgroups
from inborn_agent.attest.container.attestor import attest_container
from inborn_agent.attest.container.engine import UntrustedEngine
from tests.inborn_agent.relay.fixtures_relay import caller
from tests.rigs.fixtures_docker import DockerEngine

NOBODY = 65534


@pytest.fixture
def delegated_cgroup() -> Iterator[Path]:
    """A control group that belongs to an unprivileged user, as systemd gives each user one."""
    roots = [
        path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if (path / "cgroup.procs").exists()
    ]
    if not roots:
        pytest.skip("needs cgroup2: not mounted")
    root = roots[0]
    directory = root / f"inborn-test-{os.getpid()}"
    directory.mkdir()
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(directory / name, NOBODY, NOBODY)
    yield directory
    for child in directory.iterdir():
        if child.is_dir():
            child.rmdir()
    directory.rmdir()


def line_now(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def forger(delegated: Path, id_: str, callers: list[subprocess.Popen[str]]) -> int:
    """Start a process of an unprivileged user that names its control group after a container; give its number."""
    code = f"""
with open({str(delegated / "cgroup.procs")!r}, "w") as group:
    group.write(str(os.getpid()))
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
forged = {str(delegated / f"docker-{id_}.scope")!r}
os.mkdir(forged)
with open(forged + "/cgroup.procs", "w") as group:
    group.write(str(os.getpid()))
say("forged")
wait_for_line()
"""
    callers.append(caller(code, "-"))
    assert line_now(callers[-1]) == "forged"
    return callers[-1].pid


@pytest.fixture
def forgery(delegated_cgroup: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Like `callers`, ended before the control group is removed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.root
@pytest.mark.docker
def test_forged_container_id_in_a_delegated_cgroup(
    docker_engine: DockerEngine, docker_image: str, delegated_cgroup: Path, forgery: list[subprocess.Popen[str]]
) -> None:
    victim = docker_engine.start(docker_image)
    client = EngineClient(docker_engine.socket)
    with pin_pid(docker_engine.pid(victim)) as process:
        assert attest_container(process, client).selectors
    with pin_pid(forger(delegated_cgroup, victim, forgery)) as process:
        # What the path says would deceive whoever believes it.
        assert container_id(parse_cgroups(process.read("cgroup"))) == victim
        evidence = attest_container(process, client)
    assert evidence.selectors == frozenset()
    assert evidence.hints == (
        f"docker selectors left out: the process claims container {victim[:12]} and lies outside its control groups",
    )
    docker_engine.remove(victim)


FAKE_ENGINE = r"""
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
say("listens")
while True:
    connection, _ = listener.accept()
    if connection.recv(65536):
        say("asked")
"""


def fake_engine(code: str, directory: Path, forgery: list[subprocess.Popen[str]]) -> Path:
    """The socket of nobody's, in a directory of nobody's, where the code listens."""
    home = directory / "user"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    path = home / "docker.sock"
    forgery.append(caller(code, path, uid=NOBODY))
    assert line_now(forgery[0]) == "listens"
    return path


@pytest.mark.root
def test_fake_docker_socket_of_an_unprivileged_user(
    short_directory: Path, delegated_cgroup: Path, forgery: list[subprocess.Popen[str]]
) -> None:
    path = fake_engine(FAKE_ENGINE, short_directory, forgery)
    with pytest.raises(UntrustedEngine, match=f"served by uid {NOBODY}, only uid 0 is believed"):
        EngineClient(str(path)).container("ab" * 32)
    with pin_pid(forger(delegated_cgroup, "ab" * 32, forgery)) as process:
        evidence = attest_container(process, EngineClient(str(path)))
    assert evidence.selectors == frozenset()
    assert f"served by uid {NOBODY}" in evidence.hints[0]
    forgery[0].kill()
    assert forgery[0].communicate()[0] == "", "the fake engine was asked"


@pytest.mark.root
def test_fake_docker_socket_whose_path_belongs_to_root(
    short_directory: Path, forgery: list[subprocess.Popen[str]]
) -> None:
    """Who owns the path proves nothing: the one who listens counts."""
    path = fake_engine(FAKE_ENGINE, short_directory, forgery)
    os.chown(path, 0, 0)
    os.chown(path.parent, 0, 0)
    with pytest.raises(UntrustedEngine):
        EngineClient(str(path)).container("ab" * 32)


@pytest.mark.root
def test_fake_docker_socket_is_believed_only_where_its_owner_is_named(
    short_directory: Path, forgery: list[subprocess.Popen[str]]
) -> None:
    reply = r'connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")'
    code = FAKE_ENGINE.replace('say("asked")', reply)
    path = fake_engine(code, short_directory, forgery)
    assert EngineClient(str(path), owner_uid=NOBODY).container("ab" * 32) is None
