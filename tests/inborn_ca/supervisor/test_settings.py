"""What the processes of a CA take as their settings, and what of it can be seen from outside."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.settings.document import MAX_DOCUMENT, decode, encode
from inborn.errors import RequestError
from inborn_ca.settings import CaSettings, SignerSettings, SignerStart
from tests.rigs.settings_rig import started_with
from tests.rigs.up_rig import environment, up

MODULES = ["inborn_ca.supervisor", "inborn_ca.signer", "inborn_ca.front", "inborn_agent"]


def test_settings_of_a_whole_machine_come_out_as_they_went_in(tmp_path: Path) -> None:
    settings = CaSettings(
        data_dir=tmp_path,
        trust_domain="example.org",
        min_ttl=dt.timedelta(seconds=5),
        agent=AgentOptions(docker_socket="", rootless_engines=("1000:/run/x",)),
    )
    assert decode(encode(settings), CaSettings) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"trust_domain": "Bad Name"},
        {"listen": "a b"},
        {"listen": ""},
        {"advertise": "a/b"},
        {"min_ttl": dt.timedelta(milliseconds=999)},
        {"api_port": 70_000},
        {"crl_port": -1},
        {"api_port": 8443, "bootstrap_port": 8443},
    ],
)
def test_settings_that_cannot_be_do_not_exist(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        CaSettings(data_dir=tmp_path, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"data_dir": "/x"}', b"\xff" * 100, b" " * (MAX_DOCUMENT + 1)],
    ids=["empty", "cut off", "no object", "one field", "no text", "too large"],
)
def test_bad_document_is_one_line_and_status_2(module: str, data: bytes) -> None:
    process = started_with(module, data, stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.startswith(b"error: settings")
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("arguments", [["--settings-fd", "99"], ["--settings-fd", "x"], ["--settings-fd"]])
def test_descriptor_that_is_not_there_is_one_line_and_status_2(module: str, arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: ")
    assert b"Traceback" not in ended.stderr


def test_document_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    start = SignerStart(settings=SignerSettings(data_dir=tmp_path), front_fd=3)
    document = json.loads(encode(start)) | {"from_tomorrow": True}
    process = started_with("inborn_ca.signer", json.dumps(document).encode(), stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"'from_tomorrow'" in stderr


def test_command_lines_say_nothing_but_where_the_settings_are(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--trust-domain", "one.example") as running:
        for pid in (running.process.pid, *running.children().values()):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
            at = words.index(b"-m")
            assert words[at + 2] == b"--settings-fd"
            assert len(words) == at + 4
            assert b"one.example" not in b"".join(words)
            # Read to its end and closed: nothing that the process starts or leaks has it.
            open_files = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
            assert not [name for name in open_files if "inborn-settings" in name]


def test_what_the_environment_says_of_the_agent_reaches_the_agent_of_up(tmp_path: Path) -> None:
    """Its variables are the same whether it runs alone or beside its CA."""
    said = environment() | {
        "INBORN_AGENT_SOCKET": str(tmp_path / "a" / "mine.sock"),
        "INBORN_RUNTIME_DIR": str(tmp_path / "r"),
        "INBORN_LOG_LEVEL": "WARNING",
    }
    (tmp_path / "a").mkdir(mode=0o700)
    command = [sys.executable, "-m", "inborn_cli", "up", "--data-dir", str(tmp_path / "d"), "--docker-socket", ""]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=said)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"unix://")
        assert (tmp_path / "a" / "mine.sock").is_socket()
        assert (tmp_path / "r").is_dir()
    finally:
        process.terminate()
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b" INFO inborn.ca.signer" not in stderr


def test_agents_metrics_are_announced_where_they_are(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with up(tmp_path / "data", "--metrics", "--metrics-address", f"127.0.0.1:{port}") as running:
        (line,) = [line for line in running.lines if line.startswith("metrics at ")]
        addresses = line.removeprefix("metrics at ").split(", ")
        assert addresses[1] == f"http://127.0.0.1:{port}/metrics"
        pages = [urllib.request.urlopen(address, timeout=10).read() for address in addresses]
    assert b"inborn_ca_" in pages[0]
    assert b"inborn_agent_" in pages[1]
