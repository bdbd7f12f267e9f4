"""What the pages show is what happens: their programs run, as they stand there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.demo.programs import Programs, child_environment
from inborn._internal.host.paths import admin_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire.admin_methods import METHODS
from inborn_proto import admin_pb2
from tests.rigs.up_rig import Running, up, wait_until

ROOT = Path(__file__).resolve().parents[2]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial" / "first-identity.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
CLIENT_ID = "spiffe://example.org/client"


def programs_on(page: Path) -> list[str]:
    """The Python that a page shows."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if programs_on(page)], ids=lambda page: page.name)
def test_what_a_page_shows_is_python(page: Path) -> None:
    for program in programs_on(page):
        compile(program, page.name, "exec")


@dataclass
class Stage:
    """`inborn up`, and the two programs of the README with an entry each."""

    running: Running
    programs: dict[str, Path]
    started: list[subprocess.Popen[str]]
    port: int

    def ask(self, name: str, request: object, response: type) -> object:
        with AdminClient(admin_socket(self.running.data_dir)) as client:
            answer = client.call(METHODS[name], request)
        assert isinstance(answer, response)
        return answer

    def start(self, name: str, text: str) -> subprocess.Popen[str]:
        file = self.running.data_dir.parent / f"{name}.py"
        file.write_text(text.replace("8443", str(self.port)))
        process = subprocess.Popen(
            [self.programs[name], file],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment(INBORN_DATA_DIR=str(self.running.data_dir)),
        )
        self.started.append(process)
        return process


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "programs").mkdir()
    programs = Programs(tmp_path / "programs")
    with up(tmp_path / "d", "--trust-domain", "example.org", "--docker-socket", "") as running:
        stage = Stage(running, {name: programs.make(name) for name in ("server", "client")}, [], free_port())
        for name, path in stage.programs.items():
            selectors = [f"unix:uid:{os.getuid()}", f"unix:path:{path.resolve()}"]
            request = admin_pb2.CreateEntryRequest(spiffe_id=f"spiffe://example.org/{name}", selectors=selectors)
            stage.ask("CreateEntry", request, admin_pb2.EntryResponse)
        try:
            yield stage
        finally:
            for process in stage.started:
                process.kill()
                process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Read on until there is one."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return line
    raise AssertionError(f"{text!r} is missing in:\n{''.join(said)}")


def test_the_five_minutes_of_the_readme(stage: Stage) -> None:
    server_text, client_text = programs_on(README)
    server = stage.start("server", server_text)
    wait_for_port(stage.port)
    client = stage.start("client", client_text)
    assert line_with(client, "hello") == f"hello, {CLIENT_ID}\n"

    stage.ask("Revoke", admin_pb2.RevokeRequest(spiffe_id=CLIENT_ID), admin_pb2.RevokeResponse)
    assert f"peer={CLIENT_ID}" in line_with(server, "is revoked by")
    assert client.wait() != 0


def test_the_client_of_the_tutorial_goes_on_when_it_is_unblocked(stage: Stage) -> None:
    server = stage.start("server", programs_on(README)[0])
    wait_for_port(stage.port)
    client = stage.start("client", programs_on(TUTORIAL)[0])
    line_with(client, f"hello, {CLIENT_ID}")

    stage.ask("Revoke", admin_pb2.RevokeRequest(spiffe_id=CLIENT_ID), admin_pb2.RevokeResponse)
    line_with(server, "is revoked by")
    assert "is blocked by" in line_with(client, "no identity")

    stage.ask("Unblock", admin_pb2.UnblockRequest(target=f"id:{CLIENT_ID}"), admin_pb2.UnblockResponse)
    line_with(client, f"hello, {CLIENT_ID}")


def wait_for_port(port: int) -> None:
    """Until somebody listens."""

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_open, f"somebody listens on port {port}")
