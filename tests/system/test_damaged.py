"""Files of the data directory that are damaged or gone: a clear error, or it goes on; never a new CA in silence."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.host.paths import workload_socket
from tests.rigs.fixtures_up import Machine, Only, wait_for_paths

GARBAGE = b"\xff\x00garbage\n" * 50


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a machine that was stopped in order."""
    machine = Machine(tmp_path_factory.mktemp("former") / "d")
    try:
        machine.start()
        machine.entry("/web")
        with machine.source() as source:
            wait_for_paths(source, "/web")
        machine.stop()
        yield machine.data_dir
    finally:
        machine.clean_up()


@pytest.fixture
def machine(former: Path, machines: Callable[..., Machine]) -> Machine:
    machine = machines()
    shutil.copytree(former, machine.data_dir, ignore=lambda _, names: [name for name in names if name.endswith("sock")])
    machine.data_dir.chmod(0o711)
    return machine


def refusal(machine: Machine) -> str:
    """The error of a start that fails."""
    running = machine.start(is_awaited=False)
    assert running.process.wait(60) == 1
    running.reader.join(10)
    assert "Traceback" not in running.stderr
    return next(line for line in running.lines if line.startswith("error: "))


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_ca_that_has_lost_its_database_does_not_begin_anew(machine: Machine, how: str) -> None:
    """Its revocations would be alive again, and nobody would trust its new root."""
    database = machine.data_dir / "ca" / "inborn.db"
    for path in database.parent.glob("inborn.db*"):
        path.unlink()
    if how == "empty":
        database.touch(0o600)
    for _ in range(2):
        error = refusal(machine)
        assert "inborn.db is empty" in error
        assert "has keys of a CA" in error


def test_damaged_database_is_named(machine: Machine) -> None:
    database = machine.data_dir / "ca" / "inborn.db"
    database.write_bytes(GARBAGE)
    assert "inborn.db is not a database" in refusal(machine)


def test_damaged_key_is_named(machine: Machine) -> None:
    errors = []
    for path in sorted((machine.data_dir / "ca" / "keys").iterdir()):
        key = path.read_bytes()
        path.write_bytes(GARBAGE)
        running = machine.start(is_awaited=False)
        try:
            running.wait_for("inborn is up")
        except AssertionError:  # the issuing authority's; the root's is not needed before the next one is made
            running.reader.join(10)
            assert "Traceback" not in running.stderr
            errors += [line for line in running.lines if line.startswith("error: ") and path.name in line]
        machine.clean_up()
        path.write_bytes(key)
    assert len(errors) == 1
    machine.start()
    machine.wait_serving()


def test_damaged_ports_file_is_named_and_can_be_deleted(machine: Machine) -> None:
    """The agent finds the CA at its new port."""
    path = machine.data_dir / "ports.json"
    path.write_bytes(GARBAGE)
    assert "ports.json" in refusal(machine)
    path.unlink()
    machine.start()
    machine.wait_serving()


@pytest.mark.parametrize("content", [b"", GARBAGE])
def test_agent_that_has_lost_all_it_knew_enrolls_anew_by_itself(machine: Machine, content: bytes) -> None:
    for path in (machine.data_dir / "agent").iterdir():
        if path.is_file():
            path.write_bytes(content)
    machine.start()
    machine.wait_serving()
    with machine.source() as source:
        wait_for_paths(source, "/web")
        assert Only(source, "/web").svid.spiffe_id.path == "/web"
    assert not machine.status().alarms


def test_socket_of_a_process_that_is_gone_is_replaced_and_another_file_is_not(machine: Machine) -> None:
    path = workload_socket(machine.data_dir)
    path.parent.mkdir(exist_ok=True)
    path.write_text("somebody's")
    running = machine.start(is_awaited=False)
    assert running.process.wait(60) == 1
    running.reader.join(10)
    assert f"error: {path} is there already and is not a socket" in running.stderr
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    machine.start()
    machine.wait_serving()
