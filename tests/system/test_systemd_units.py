"""The systemd units: systemd takes them, they start what exists, and their capabilities are enough for it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from inborn_cli import VERBS
from tests.rigs.up_rig import UP_TIME, Running, environment

UNITS = sorted((Path(__file__).resolve().parents[2] / "packaging" / "systemd").glob("*.service"))
NAMES = [unit.name for unit in UNITS]
# As `systemd-analyze security` counts, from 0 (locked in) to 100 (as root without a limit).
MOST_EXPOSED = 35
SIGNER_USER, FRONT_USER = "daemon", "bin"  # on every Debian, and of no other use


def settings(unit: Path) -> dict[str, str]:
    """Directive -> value; a directive that stands twice would be a mistake in ours."""
    lines = [line for line in unit.read_text().splitlines() if line and line[0] not in "#["]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    return found


def test_there_are_units_for_one_machine_for_a_ca_and_for_an_agent() -> None:
    assert NAMES == ["inborn-agent.service", "inborn-ca.service", "inborn-up.service"]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_systemd_takes_the_unit_without_a_complaint(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("true")
    assert program is not None
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/inborn/bin/inborn", program))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_the_unit_is_locked_in(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-500:]


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_the_unit_starts_a_verb_that_exists(unit: Path) -> None:
    program, _, verb = settings(unit)["ExecStart"].partition(" ")
    assert program == "/opt/inborn/bin/inborn"
    assert verb in {known.path for known in VERBS}


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_the_unit_gives_up_privileges(unit: Path) -> None:
    found = settings(unit)
    assert found["NoNewPrivileges"] == "yes"
    assert found["ProtectSystem"] == "strict"
    assert "CAP_SYS_ADMIN" not in found["CapabilityBoundingSet"]
    assert found["StateDirectory"] == "inborn"
    assert found["LimitCORE"] == "0"


@pytest.mark.parametrize("name", ["inborn-agent.service", "inborn-up.service"])
def test_keys_of_workloads_outlive_a_restart_of_the_unit(name: str) -> None:
    found = settings(UNITS[NAMES.index(name)])
    assert (found["RuntimeDirectory"], found["RuntimeDirectoryPreserve"]) == ("inborn inborn-agent", "yes")


@pytest.mark.parametrize("name", ["inborn-agent.service", "inborn-up.service"])
def test_an_agent_sees_processes_users_and_homes_as_they_are(name: str) -> None:
    found = settings(UNITS[NAMES.index(name)])
    assert not {"ProtectProc", "ProcSubset", "PrivateUsers"} & set(found)
    assert found["ProtectHome"] == "read-only"


@pytest.mark.root
@pytest.mark.needs("setpriv")
def test_the_capabilities_of_the_unit_are_enough() -> None:
    """`inborn up` under what its unit leaves of root: it serves, and tells another user's process apart."""
    wanted = settings(UNITS[NAMES.index("inborn-up.service")])["CapabilityBoundingSet"].split()
    bounds = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in wanted)])
    under_the_unit = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs"]
    directory = Path(tempfile.mkdtemp(prefix="inborn-unit-"))
    directory.chmod(0o711)  # pytest's own are closed to other users
    data_dir = directory / "d"
    arguments = ["up", "--data-dir", str(data_dir), "--docker-socket", ""]
    if can_be_entered_by_all(Path(sys.executable).resolve(), directory, *map(Path, filter(None, sys.path))):
        arguments += ["--signer-user", SIGNER_USER, "--front-user", FRONT_USER]
    process = subprocess.Popen(
        [*under_the_unit, sys.executable, "-m", "inborn_cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    running = Running(process, data_dir)
    try:
        running.wait_for("inborn is up", UP_TIME)
        sleeper = subprocess.Popen(["sleep", "600"], user=SIGNER_USER, group=SIGNER_USER, extra_groups=[])
        try:
            why = [sys.executable, "-m", "inborn_cli", "why", "--pid", str(sleeper.pid), "--data-dir", str(data_dir)]
            said = subprocess.run(why, capture_output=True, text=True, env=environment(), check=False)
        finally:
            sleeper.kill()
            sleeper.wait()
        assert said.returncode == 0, said.stderr
        assert f"has unix:user:{SIGNER_USER}" in said.stdout
        assert re.search(r"has unix:path:/\S*", said.stdout), said.stdout
        assert re.search(r"has unix:sha256:[0-9a-f]{64}", said.stdout), said.stdout
        assert running.end() == 0, running.stderr
    finally:
        running.end(signal.SIGKILL)
        shutil.rmtree(directory)


def can_be_entered_by_all(*paths: Path) -> bool:
    """Whether another user can reach all of these."""
    directories = {directory for path in paths for directory in (path, *path.parents) if directory.is_dir()}
    return all(os.stat(directory).st_mode & 0o001 for directory in directories)
