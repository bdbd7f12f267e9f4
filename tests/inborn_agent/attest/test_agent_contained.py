"""The agent where it sees less of the host: in a container of its own, and as an ordinary user under hidepid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.host.paths import workload_socket
from inborn._internal.source.x509_source import X509Source
from inborn_cli import VERBS
from tests.inborn_agent.relay.fixtures_relay import CALLER, caller
from tests.rigs.fixtures_docker import DockerEngine
from tests.rigs.fixtures_up import Machine, spiffe_id
from tests.rigs.up_rig import Running, environment

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "packaging" / "docker" / "Dockerfile"
NOBODY = 65534


def documented_options() -> list[str]:
    """What the Dockerfile says to start the container with, without what is of one machine or one CA."""
    command = re.search(r"docker run -d(.*?)\n#\n", DOCKERFILE.read_text(), re.DOTALL)
    assert command is not None
    words = re.sub(r"\\\n#", " ", command[1]).split()
    pairs = zip(words, [*words[1:], ""], strict=True)
    left_out = {"--name", "--env"}
    options: list[str] = []
    for word, value in pairs:
        if word == "--volume" and not value.startswith("/proc:"):
            continue
        if word.startswith("--") and word not in left_out:
            options += [word] if value.startswith("--") else [word, value]
    return options


def test_the_dockerfile_says_what_the_container_is_started_with() -> None:
    options = documented_options()
    assert options[:4] == ["--cgroupns", "host", "--volume", "/proc:/host/proc:ro"]
    assert "--pid" not in options
    assert "--privileged" not in options
    assert {"--read-only", "no-new-privileges"} <= set(options)
    added = [options[at + 1] for at, word in enumerate(options) if word == "--cap-add"]
    assert added == ["SYS_PTRACE", "DAC_READ_SEARCH"]


def test_the_dockerfile_starts_a_verb_that_exists_with_what_it_takes() -> None:
    text = DOCKERFILE.read_text()
    assert 'ENTRYPOINT ["inborn"]\nCMD ["agent", "run"]' in text
    assert "agent run" in {verb.path for verb in VERBS}
    assert "INBORN_PROC=/host/proc" in text
    copied = {source for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for source in line.split()}
    assert all((ROOT / source).exists() for source in copied)


def seen_directories() -> list[str]:
    """What a container has to see of the host for this very interpreter and this checkout to run there."""
    directories = sorted({"/usr", sys.prefix, sys.base_prefix, str(ROOT)})
    return [one for one in directories if not any(one.startswith(other + "/") for other in directories)]


@pytest.mark.docker
@pytest.mark.root
class TestInAContainer:
    @pytest.fixture
    def agent(
        self,
        machines: Callable[..., Machine],
        docker_engine: DockerEngine,
        docker_image: str,
        short_directory: Path,
    ) -> Iterator[Path]:
        """An agent in a container, as the Dockerfile says, of a CA on the host; gives its data directory."""
        machine = machines("ca", verb=("ca", "run"))
        machine.start()
        (short_directory / "token").write_text(machine.token(uses=1))
        data_dir = short_directory / "d"
        options = [*documented_options(), "--network", "host", "--env", f"PYTHONPATH={environment()['PYTHONPATH']}"]
        for directory in seen_directories():
            options += ["--volume", f"{directory}:{directory}:ro"]
        options += [
            "--volume",
            f"{docker_engine.socket}:/run/docker.sock",
            "--volume",
            f"{short_directory}:{short_directory}",
        ]
        command = [sys.executable, "-m", "inborn_cli", "agent", "run", "--ca", machine.bootstrap_address]
        command += ["--proc", "/host/proc", "--data-dir", str(data_dir), "--docker-socket", "/run/docker.sock"]
        command += ["--join-token-file", str(short_directory / "token"), "--runtime-dir", "/run/inborn-agent"]
        id_ = docker_engine.docker("run", "--detach", *options, docker_image, *command)
        docker_engine.containers.append(id_)
        selectors = [f"unix:uid:{os.geteuid()}", "posture:ns_pid:host", "posture:ns_mnt:host"]
        machine.entry("/host", node="any", selectors=selectors)
        selectors = ["docker:label:app:web", "unix:uid:4321", "posture:ns_pid:private"]
        machine.entry("/container", node="any", selectors=selectors)
        logs = ["docker", "--host", f"unix://{docker_engine.socket}", "logs", "--follow", id_]
        agent = Running(subprocess.Popen(logs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), data_dir)
        agent.wait_for("ready socket=")
        yield data_dir
        docker_engine.remove(id_)
        agent.process.wait(30)

    def test_it_knows_processes_of_the_host_and_of_other_containers(
        self,
        agent: Path,
        docker_engine: DockerEngine,
        docker_image: str,
        callers: list[subprocess.Popen[str]],
    ) -> None:
        with X509Source(workload_socket(agent), timeout=30) as source:
            assert str(source.svid.spiffe_id) == spiffe_id("/host")
        options = ["--user", "4321", "--label", "app=web", "--volume", f"{workload_socket(agent).parent}:/run/inborn"]
        for directory in seen_directories():
            options += ["--volume", f"{directory}:{directory}:ro"]
        options += ["--env", f"PYTHONPATH={environment()['PYTHONPATH']}"]
        fetch = [sys.executable, "-m", "inborn_cli", "svid", "fetch", "--socket", "/run/inborn/api.sock"]
        said = docker_engine.docker("run", "--rm", "--network", "none", *options, docker_image, *fetch)
        assert spiffe_id("/container") in said


# As a service manager starts it: another user, with the one capability, in mounts where /proc hides others' processes.
HIDDEN = f"""
import asyncio, ctypes, os, struct, sys
from inborn.errors import InbornError
from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import WorkloadAttestors

libc = ctypes.CDLL(None, use_errno=True)
mask = int(sys.argv[2], 16)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, (1 << 14) | (1 << 18), None) == 0
assert libc.mount(b"proc", b"/proc", b"proc", 0, b"hidepid=2") == 0

async def main():
    attestor = WorkloadAttestors()
    with pin_pid(os.getpid()) as process:
        await attestor.attest(process)  # whatever is loaded later is loaded now
    assert libc.prctl(8, 1, 0, 0, 0) == 0
    os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
    header, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", mask, mask, 0, 0, 0, 0)
    assert libc.capset(header, data) == 0
    assert libc.prctl(4, 1, 0, 0, 0) == 0
    attestor = WorkloadAttestors()  # with threads of its own, which have what this one has now
    try:
        with pin_pid(int(sys.argv[1])) as process:
            evidence = await attestor.attest(process)
        print(*sorted(map(str, evidence.selectors)), *evidence.hints, sep="\\n")
    except InbornError as error:
        print(error.kind, error.message, error.hint, sep="\\n")
    attestor.close()

asyncio.run(main())
"""
PTRACE = 1 << 19
READ_SEARCH = 1 << 2


@pytest.mark.root
class TestUnderHidepid:
    @pytest.fixture
    def others(self, callers: list[subprocess.Popen[str]]) -> int:
        """A process of somebody else's."""
        callers.append(caller("say('there'); wait_for_line()", "-", uid=NOBODY - 1))
        assert callers[0].stdout is not None
        assert callers[0].stdout.readline() == "there\n", CALLER
        return callers[0].pid

    def look(self, pid: int, capabilities: int) -> list[str]:
        path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))
        command = [sys.executable, "-c", HIDDEN, str(pid), f"{capabilities:x}"]
        said = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
        )
        return said.stdout.splitlines()

    def test_without_a_capability_it_sees_nobody_and_says_what_it_needs(self, others: int) -> None:
        kind, message, hint = self.look(others, 0)
        assert kind == "ProcessGone"
        assert message == f"process {others} ended before it was pinned, or /proc hides it"
        assert hint == "an agent that is not root needs CAP_SYS_PTRACE where /proc is mounted with hidepid"

    def test_with_one_capability_it_sees_all_that_root_does(self, others: int) -> None:
        said = self.look(others, PTRACE)
        assert {f"unix:uid:{NOBODY - 1}", "posture:userns:host", "posture:ns_pid:host", "posture:rootfs:rw"} <= set(
            said
        )
        assert [line for line in said if line.startswith("unix:sha256:")]
        left_out = [line for line in said if "left out" in line]
        # The host's own mounts are those of the machine's first process, which some machines guard beyond hidepid.
        assert left_out in ([], ["posture:runtime_socket left out: the host's mounts may not be looked at"])

    def test_an_executable_that_only_its_owner_may_read_takes_another_one(
        self, short_directory: Path, callers: list[subprocess.Popen[str]]
    ) -> None:
        program = short_directory / "closed"
        program.write_bytes(Path(os.path.realpath("/bin/sleep")).read_bytes())
        program.chmod(0o711)
        closed = subprocess.Popen([program, "600"], text=True)
        callers.append(closed)
        said = self.look(closed.pid, PTRACE)
        assert f"unix:path and unix:sha256 left out: /proc/{closed.pid}/exe: Permission denied" in said
        assert f"unix:path:{program}" in self.look(closed.pid, PTRACE | READ_SEARCH)


# As a hardened unit has it: mounts of its own beside those of the machine's first process.
APART = """
import ctypes, sys
from inborn_agent.attest import Host
from inborn_agent.attest.systemd.attestor import find_fragment
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, (1 << 14) | (1 << 18), None) == 0
assert libc.mount(b"none", sys.argv[1].encode(), b"tmpfs", 0, None) == 0
host = Host()
print(host.has_this_process("mnt"), host.root(), host.engine_sockets() is not None)
print(find_fragment("a.service", [sys.argv[1]], root=host.root()), find_fragment("a.service", [sys.argv[1]]))
"""


@pytest.mark.root
@pytest.mark.needs("unshare")
def test_in_mounts_of_its_own_it_sees_the_hosts_files_through_the_first_process(tmp_path: Path) -> None:
    """The first process here is a shell in a PID namespace: that of the machine may be guarded."""
    (tmp_path / "a.service").touch()
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))
    script = f'{sys.executable} -c "$1" "$2"; true'
    said = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh", APART, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said == ["False /proc/1/root True", f"{tmp_path}/a.service None"]
