"""The examples of the documentation, run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inborn.testing import MemoryAuthority
from tests.rigs.fixtures_library import SpokenAgent
from tests.rigs.fixtures_spoken_ca import DAEMON, SpokenAuthority

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WEB = "spiffe://example.org/web"
PATHS = [path for path in sys.path if Path(path, "inborn").is_dir() or Path(path, "inborn_proto").is_dir()]


@pytest.fixture
def environment(authority: MemoryAuthority, agent: SpokenAgent) -> dict[str, str]:
    agent.identify(authority.svid(WEB))
    return {
        **os.environ,
        "SPIFFE_ENDPOINT_SOCKET": f"unix://{agent.path}",
        "PYTHONPATH": os.pathsep.join(PATHS),
    }


@contextmanager
def running(name: str, environment: dict[str, str]) -> Iterator[str]:
    """A server of the examples, and the port that it says."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        port = ""
        while not port:
            line = process.stdout.readline()
            assert line, "the example ended"
            found = re.search(r"^(\d+)$|127\.0\.0\.1:(\d+)", line.strip())
            port = (found[1] or found[2]) if found else ""
        yield port
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def run(name: str, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_sockets(environment: dict[str, str]) -> None:
    with running("asyncio_server.py", environment) as port:
        assert run("socket_client.py", environment, port, WEB) == f"hello {WEB}"


def test_grpc(environment: dict[str, str]) -> None:
    with running("grpc_server.py", environment) as port:
        assert run("grpc_client.py", environment, port, WEB) == f"hello {WEB}"


@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="needs uvicorn")
def test_http(environment: dict[str, str]) -> None:
    with running("uvicorn_server.py", environment) as port:
        assert run("http_client.py", environment, port, WEB) == f"hello {WEB}"


def test_daemon_without_an_agent(ca: SpokenAuthority, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(ca.token.encode())
    arguments = (ca.address, str(tmp_path / "token"), str(tmp_path / "identity"))
    assert run("enrolled_daemon.py", environment, *arguments) == DAEMON


def test_every_example_is_short_and_is_run() -> None:
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith('"""')]
        assert len(lines) <= 16, path.name
        assert f'"{path.name}"' in tests, path.name
