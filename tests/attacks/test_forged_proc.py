"""Attempts to have facts read that the kernel did not write: directories like /proc, mounts over parts of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import PeerUnsupported, PinMode, pin_peer, pin_pid
from inborn._internal.process.procfs import NotProcfs
from inborn.errors import UnavailableError
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.relay.relay import Relay
from tests.inborn_agent.attest.posture.fixtures_sandbox import LockedIn
from tests.inborn_agent.relay.fixtures_relay import caller

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def forged_proc(tmp_path: Path, callers: list[subprocess.Popen[str]]) -> tuple[Path, int]:
    """A directory that says of a process of root's whatever its maker likes; with that process's number."""
    callers.append(caller("wait_for_line()", "-"))
    pid = callers[0].pid
    (tmp_path / "self").symlink_to("/proc/self")
    (tmp_path / str(pid)).mkdir()
    for name in ("status", "cgroup", "stat"):
        (tmp_path / str(pid) / name).write_bytes(Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\t0\t0", b"\t1\t1"))
    return tmp_path, pid


def test_directory_that_looks_like_proc(forged_proc: tuple[Path, int]) -> None:
    directory, pid = forged_proc
    with pytest.raises(NotProcfs, match="is not a procfs"):
        pin_pid(pid, proc=str(directory))


def test_directory_with_a_real_process_in_it(
    forged_proc: tuple[Path, int], short_directory: Path, pin_mode: PinMode
) -> None:
    """What is asked for is a real directory of /proc, reached through one that is not."""
    directory, pid = forged_proc
    shutil.rmtree(directory / str(pid))
    (directory / str(pid)).symlink_to("/proc/self")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(short_directory / "s"))
        listener.listen()
        client.connect(str(short_directory / "s"))
        connection, _ = listener.accept()
        with connection, pytest.raises(NotProcfs):
            pin_peer(connection, proc=str(directory), mode=pin_mode)


async def test_agent_that_is_given_such_a_directory_does_not_start(
    forged_proc: tuple[Path, int], short_directory: Path
) -> None:
    attestor = WorkloadAttestors()
    (short_directory / "private").mkdir(mode=0o700)
    inner = str(short_directory / "private" / "s")
    relay = Relay(str(short_directory / "api.sock"), inner, attestor, proc=str(forged_proc[0]))
    with pytest.raises(NotProcfs):
        await relay.start()
    assert not (short_directory / "api.sock").exists()
    attestor.close()


@pytest.fixture
def others_proc(short_directory: Path, locked_in: LockedIn) -> Iterator[Path]:
    """The procfs of a PID namespace that this process is not in."""
    mounted = short_directory / "proc"
    mounted.mkdir()
    code = f"""
unshare(NEWPID)
if os.fork() == 0:
    mount("proc", {str(mounted)!r}, 0, "proc")
    os._exit(0)
check(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    locked_in(code)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@pytest.mark.root
def test_procfs_of_another_pid_namespace(others_proc: Path) -> None:
    """It would have other processes under the same numbers."""
    with pytest.raises(PeerUnsupported, match="cannot be read"):
        pin_pid(os.getpid(), proc=str(others_proc))


# An agent in a mount namespace of its own, where something is mounted over a part of /proc.
DECEIVED_AGENT = """
import asyncio, ctypes, os, sys
from inborn.errors import InbornError
from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestors

libc = ctypes.CDLL(None, use_errno=True)
pid, source, name = sys.argv[1:4]
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, (1 << 14) | (1 << 18), None) == 0
assert libc.mount(source.encode(), f"/proc/{pid}/{name}".rstrip("/").encode(), None, 4096, None) == 0

async def main():
    attestor = WorkloadAttestors(engines=[EngineClient("/nowhere")])
    try:
        with pin_pid(int(pid)) as process:
            evidence = await attestor.attest(process)
    except InbornError as error:
        print(error.kind, error.message)
    else:
        print(*map(str, evidence.selectors), *evidence.hints, sep="\\n")
    attestor.close()

asyncio.run(main())
"""


def deceive(pid: int, source: str | Path, name: str, *, before: str = "") -> str:
    """What the agent says of a process, with something mounted over that file of its /proc."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))}
    command = [sys.executable, "-c", before + DECEIVED_AGENT, str(pid), str(source), name]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture
def victim(callers: list[subprocess.Popen[str]]) -> int:
    callers.append(caller("say('there'); wait_for_line()", "-", uid=NOBODY))
    assert callers[0].stdout is not None
    callers[0].stdout.readline()
    return callers[0].pid


@pytest.mark.root
class TestMountedOver:
    def test_file_mounted_over_the_users_of_a_process(self, victim: int, tmp_path: Path) -> None:
        forged = tmp_path / "status"
        forged.write_bytes(Path("/proc/self/status").read_bytes())
        assert (
            deceive(victim, forged, "status") == f"FactUnreadable /proc/{victim}/status: something is mounted over it\n"
        )

    def test_another_processs_file_of_the_same_procfs(self, victim: int) -> None:
        """The same device number: only the mount itself tells them apart."""
        said = deceive(victim, f"/proc/{os.getpid()}/status", "status")
        assert said == f"FactUnreadable /proc/{victim}/status: something is mounted over it\n"

    def test_another_processs_directory(self, victim: int) -> None:
        said = deceive(victim, f"/proc/{os.getpid()}", "")
        assert said.startswith(f"UnavailableError /proc/{victim} cannot be opened")

    def test_file_mounted_over_the_control_groups(self, victim: int, tmp_path: Path) -> None:
        forged = tmp_path / "cgroup"
        forged.write_text("0::/docker/" + "7cd5" * 16 + "\n1:name=systemd:/system.slice/nginx.service\n")
        said = deceive(victim, forged, "cgroup")
        assert f"unix:uid:{NOBODY}" in said
        assert "systemd:" not in said
        assert f"docker selectors left out: /proc/{victim}/cgroup: something is mounted over it" in said

    def test_file_mounted_over_one_thread(self, victim: int, tmp_path: Path) -> None:
        forged = tmp_path / "status"
        forged.write_bytes(Path("/proc/self/status").read_bytes())
        said = deceive(victim, forged, f"task/{victim}/status")
        assert f"posture selectors left out: /proc/{victim}/task/{victim}/status: something is mounted over it" in said


# Answers ENOSYS to openat2(), as Linux before 5.6 does, whatever the architecture: the number is the same on all.
WITHOUT_OPENAT2 = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
code = struct.pack("=" + "HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 437, 6, 0, 0, 0x50000 | 38, 6, 0, 0, 0x7FFF0000)
program = struct.pack("@HP", 4, ctypes.addressof(buffer := ctypes.create_string_buffer(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
assert libc.syscall(437, -100, b"/", b"", 0) == -1 and ctypes.get_errno() == 38
"""


@pytest.mark.root
class TestMountedOverOnOlderKernels:
    """What is left without openat2(): the device number, which is another one for all but the same procfs."""

    def test_file_mounted_over_the_users_of_a_process(self, victim: int, tmp_path: Path) -> None:
        forged = tmp_path / "status"
        forged.write_bytes(Path("/proc/self/status").read_bytes())
        said = deceive(victim, forged, "status", before=WITHOUT_OPENAT2)
        assert said == f"FactUnreadable /proc/{victim}/status: something is mounted over it\n"

    def test_nothing_mounted_there_is_read_as_ever(self, victim: int, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").touch()
        said = deceive(victim, tmp_path / "elsewhere", "oom_score", before=WITHOUT_OPENAT2)
        assert f"unix:uid:{NOBODY}\n" in said
        assert "left out" not in said

    def test_another_processs_file_of_the_same_procfs_is_not_noticed(self, victim: int) -> None:
        """It takes root in the agent's own mount namespace, on a kernel before Linux 5.6."""
        said = deceive(victim, f"/proc/{os.getpid()}/status", "status", before=WITHOUT_OPENAT2)
        assert f"IdentityChanged process {victim} was uid" in said or "unix:uid:0\n" in said


@pytest.mark.root
async def test_proc_of_a_workloads_own_is_not_looked_at(locked_in: LockedIn, tmp_path: Path) -> None:
    """A workload mounts what it likes over its own /proc, in its own mount namespace."""
    forged = tmp_path / "cgroup"
    forged.write_text("0::/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n")
    code = f"""
unshare(NEWNS)
mount(None, "/", PRIVATE)
mount({str(forged)!r}, f"/proc/{{os.getpid()}}/cgroup", BIND)
assert "nginx" in open("/proc/self/cgroup").read()
"""
    attestor = WorkloadAttestors()
    with pin_pid(locked_in(code).pid) as process:
        evidence = await attestor.attest(process)
    attestor.close()
    assert not [selector for selector in evidence.selectors if selector.type == "systemd"]


def test_errors_of_a_missing_proc_are_those_of_an_agent_that_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(NotProcfs, match="No such file") as refused:
        pin_pid(os.getpid(), proc=str(tmp_path / "none"))
    assert isinstance(refused.value, UnavailableError)
    assert refused.value.hint == "mount the host's /proc there"
