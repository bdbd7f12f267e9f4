"""Attempts to be taken for a systemd unit that one is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import EngineClient, Host, WorkloadAttestors
from inborn_agent.attest.process_cgroups import read_cgroups
from inborn_agent.attest.systemd.attestor import attest_systemd
from tests.inborn_agent.relay.fixtures_relay import caller
from tests.rigs.fixtures_docker import DockerEngine

NOBODY = 65534
ROOT = Path(__file__).resolve().parents[2]
OWN = f"inborn-test-{os.getpid()}"


@pytest.fixture
def hierarchy() -> Iterator[Path]:
    """Where systemd would make its control groups. What a test makes in there is removed."""
    named = Path("/sys/fs/cgroup/systemd")
    root = named if (named / "cgroup.procs").exists() else Path("/sys/fs/cgroup")
    if not (root / "cgroup.procs").exists():
        pytest.skip("needs the control groups of systemd or cgroup2: not mounted")
    yield root
    remove_groups([root])


def remove_groups(roots: Iterable[Path]) -> None:
    """Remove the groups of these tests, the innermost first, and the slices that they lay in if those are empty."""
    for root in roots:
        own = [path for path in root.rglob("*/") if OWN in str(path)]
        slices = [root / "user.slice" / f"user-{NOBODY}.slice", root / "user.slice", root / "system.slice"]
        for directory in (*sorted(own, key=lambda path: -len(path.parts)), *slices):
            try:
                directory.rmdir()
            except OSError:
                assert directory not in own


@pytest.fixture
def members(hierarchy: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes in control groups, ended before those are removed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def member(group: Path, members: list[subprocess.Popen[str]], then: str = "") -> int:
    """Start a process, by root, in `group`; it then does as it likes. Gives its number."""
    group.mkdir(parents=True, exist_ok=True)
    code = f"""
with open({str(group / "cgroup.procs")!r}, "w") as file:
    file.write(str(os.getpid()))
{then}
say("there")
wait_for_line()
"""
    members.append(caller(code, "-"))
    assert members[-1].stdout is not None
    assert members[-1].stdout.readline() == "there\n"
    return members[-1].pid


def delegated(group: Path) -> Path:
    """A control group whose inside belongs to an ordinary user, as `Delegate=` and user sessions have it."""
    group.mkdir(parents=True, exist_ok=True)
    for path in (group, *group.glob("cgroup.procs"), *group.glob("tasks")):
        os.chown(path, NOBODY, NOBODY)
    return group


def moves_below(group: Path, forged: str) -> str:
    """Become an ordinary user, who makes himself a control group of that name below his own."""
    return f"""
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
os.makedirs({str(group / forged)!r})
with open({str(group / forged / "cgroup.procs")!r}, "w") as file:
    file.write(str(os.getpid()))
"""


def units_of(pid: int) -> set[str]:
    with pin_pid(pid) as process:
        return {selector.value for selector in attest_systemd(read_cgroups(process), Host()).selectors}


@pytest.mark.root
def test_a_unit_of_the_system_manager_is_believed(hierarchy: Path, members: list[subprocess.Popen[str]]) -> None:
    group = hierarchy / "system.slice" / f"{OWN}.service"
    assert units_of(member(group, members)) == {f"id:{OWN}.service"}
    assert units_of(member(group / "workers", members)) == {f"id:{OWN}.service"}


@pytest.mark.root
@pytest.mark.parametrize(
    "own",
    [f"user.slice/user-{NOBODY}.slice/{OWN}@{NOBODY}.service", OWN, f"{OWN}/{OWN}.slice"],
    ids=["user_session", "delegated_by_hand", "slice_by_hand"],
)
@pytest.mark.parametrize("forged", ["system.slice/nginx.service", "nginx.service"])
def test_unit_name_forged_in_a_users_subtree(
    hierarchy: Path, members: list[subprocess.Popen[str]], own: str, forged: str
) -> None:
    group = delegated(hierarchy / own)
    pid = member(group, members, moves_below(group, f"{OWN}/{forged}" if own == OWN else forged))
    assert "nginx.service" in Path(f"/proc/{pid}/cgroup").read_text()
    assert units_of(pid) == set()


@pytest.mark.root
def test_unit_name_forged_below_a_unit_that_has_been_given_its_group(
    hierarchy: Path, members: list[subprocess.Popen[str]]
) -> None:
    group = delegated(hierarchy / "system.slice" / f"{OWN}.service")
    assert units_of(member(group, members, moves_below(group, "system.slice/nginx.service"))) == {f"id:{OWN}.service"}


IN_A_NAMESPACE = """
import ctypes, os, sys
from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import Host
from inborn_agent.attest.systemd.attestor import attest_systemd
from inborn_agent.attest.process_cgroups import read_cgroups
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
host = Host()
assert ctypes.CDLL(None).unshare(0x2000000) == 0
with pin_pid(int(sys.argv[2])) as process:
    groups = read_cgroups(process)
    print(*groups.values())
    evidence = attest_systemd(groups, host)
print(*map(str, evidence.selectors), *evidence.hints)
"""


@pytest.mark.root
def test_unit_name_forged_where_the_agents_own_view_begins(
    hierarchy: Path, members: list[subprocess.Popen[str]]
) -> None:
    """An agent in a control group namespace sees paths from there on: what is below it looks like the host's."""
    own = hierarchy / OWN
    victim = member(own / "system.slice" / "nginx.service", members)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))}
    said = subprocess.run(
        [sys.executable, "-c", IN_A_NAMESPACE, str(own / "cgroup.procs"), str(victim)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "/system.slice/nginx.service" in said[0].split()
    assert said[1].startswith("systemd selectors left out: the agent lives in a control group namespace of its own")


@pytest.mark.root
@pytest.mark.docker
async def test_container_below_a_units_group(docker_engine: DockerEngine, docker_image: str) -> None:
    """Whoever may start containers can have an engine make their groups anywhere."""
    engine = EngineClient(docker_engine.socket)
    options = ("--cgroup-parent", f"/system.slice/{OWN}.service")
    id_ = docker_engine.start(docker_image, options=options)
    pid = docker_engine.pid(id_)
    assert f"/system.slice/{OWN}.service/{id_}" in Path(f"/proc/{pid}/cgroup").read_text()
    attestor = WorkloadAttestors(engines=[engine])
    with pin_pid(pid) as process:
        types = {selector.type for selector in (await attestor.attest(process)).selectors}
    attestor.close()
    assert types == {"unix", "docker", "posture"}
    docker_engine.remove(id_)
    remove_groups(Path("/sys/fs/cgroup").glob("*/"))
