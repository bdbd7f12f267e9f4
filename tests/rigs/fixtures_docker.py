"""A Docker engine for tests, and an image made from what the machine has. Nothing is pulled.

As root an engine of the tests' own is started, beside any that runs; otherwise one that answers is used.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestors

# dockerd is up within a second; a machine with much else to do may take longer.
START_TIMEOUT = 60
STOP_TIMEOUT = 30


@dataclass
class DockerEngine:
    """An engine that answers on `socket`. Containers started here are removed at the end."""

    socket: str
    containers: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        return ["docker"]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"DOCKER_HOST": f"unix://{self.socket}"}

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker command; give what it printed."""
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=START_TIMEOUT,
        )
        if done.returncode != 0:
            raise AssertionError(f"{self.command[0]} {arguments[0]}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def start(self, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Start a container in the background, without a network; give its id."""
        id_ = self.docker("run", "--detach", "--network", "none", *options, image, *command)
        self.containers.append(id_)
        return id_

    def pid(self, id_: str) -> int:
        """The number of a container's first process on the host."""
        return int(self.docker("inspect", "--format", "{{.State.Pid}}", id_))

    def remove(self, id_: str) -> None:
        """Kill and remove a container, at once."""
        self.docker("rm", "--force", id_)
        self.containers.remove(id_)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """An engine; its socket is `docker_engine.socket`, served by root."""
    if shutil.which("docker") is None:
        pytest.skip("needs docker: not on PATH")
    if os.geteuid() == 0 and shutil.which("dockerd") is not None:
        yield from _own_engine("inborn-tests")
        return
    engine = DockerEngine(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    try:
        engine.docker("version")
    except (AssertionError, subprocess.TimeoutExpired):
        pytest.skip("needs docker: no engine answers, and none can be started (that takes root and dockerd)")
    yield engine
    for id_ in list(engine.containers):
        engine.remove(id_)


# Users of containers begin at 100,000 on the host. What is in /etc stays as it is: the engine sees a file of its own.
REMAPPED_USERS = "nobody:100000:65536\n"
REMAP = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec "$@"'


@pytest.fixture(scope="module")
def remapped_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """An engine of the tests' own that gives its containers users that are nobody on the host (`--userns-remap`)."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("needs docker: no engine answers, and none can be started (that takes root and dockerd)")
    users = tmp_path_factory.mktemp("remapped") / "users"
    users.write_text(REMAPPED_USERS)
    group = "nogroup" if "\nnogroup:" in Path("/etc/group").read_text() else "nobody"
    users.write_text(REMAPPED_USERS + REMAPPED_USERS.replace("nobody", group))
    before = ("unshare", "--mount", "sh", "-c", REMAP, "sh", str(users))
    yield from _own_engine("inborn-remapped", f"--userns-remap=nobody:{group}", before=before)


def _own_engine(name: str, *options: str, before: tuple[str, ...] = ()) -> Iterator[DockerEngine]:
    directory = Path(tempfile.mkdtemp(prefix="inborn-docker-"))
    directory.chmod(0o711)  # a remapped root has to get through
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(directory / "ready"))
    ready.settimeout(1)
    engine = DockerEngine(str(directory / "docker.sock"))
    log = directory / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                *before,
                "dockerd",
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                "--storage-driver=vfs",
                f"--data-root={directory}/data",
                f"--exec-root={directory}/exec",
                f"--pidfile={directory}/pid",
                f"--containerd-namespace={name}",
                f"--containerd-plugins-namespace={name}-plugins",
                f"--host=unix://{engine.socket}",
                *options,
            ],
            env=os.environ | {"NOTIFY_SOCKET": str(directory / "ready")},
            stdout=output,
            stderr=output,
        )
    try:
        if not _is_ready(daemon, ready):
            pytest.fail(f"dockerd does not start: {log.read_text(errors='replace')[-2000:]}")
        yield engine
        for id_ in list(engine.containers):
            engine.remove(id_)
    finally:
        ready.close()
        daemon.terminate()
        try:
            daemon.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        subprocess.run(["umount", f"{directory}/exec/netns/default"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _is_ready(daemon: subprocess.Popen[bytes], ready: socket.socket) -> bool:
    for _ in range(START_TIMEOUT):
        try:
            if b"READY=1" in ready.recv(4096).split(b"\n"):
                return True
        except TimeoutError:
            if daemon.poll() is not None:
                return False
    return False


@pytest.fixture(scope="session")
def docker_image(docker_engine: DockerEngine) -> Iterator[str]:
    """An image with busybox as its shell, a label and a variable.

    Mount the host's /usr at /usr and it has everything else of the host as well, its Python among it.
    """
    yield from _image(docker_engine)


@pytest.fixture(scope="module")
def remapped_image(remapped_engine: DockerEngine) -> Iterator[str]:
    """The same, in that engine."""
    yield from _image(remapped_engine)


def _image(engine: DockerEngine) -> Iterator[str]:
    name = f"inborn-test:{os.getpid()}"
    import_image(engine, name)
    yield name
    for id_ in list(engine.containers):
        engine.remove(id_)
    engine.docker("rmi", "--force", name)


def import_image(engine: DockerEngine, name: str, *changes: str) -> str:
    """Make the image anew under that name, with further changes (`LABEL a=b`); give its digest."""
    changes = ("LABEL com.example.team=payments", "ENV APP_ENV=test", 'CMD ["/bin/sleep", "600"]', *changes)
    options = [option for change in changes for option in ("--change", change)]
    return engine.docker("import", *options, "-", name, stdin=root_file_system())


async def facts_of_container(engine: DockerEngine, image: str, *options: str) -> dict[str, set[str]]:
    """What attestation says of a container that is started with these options: by type, the rest as text."""
    id_ = engine.start(image, options=options)
    attestor = WorkloadAttestors(engines=[EngineClient(engine.socket)])
    with pin_pid(engine.pid(id_)) as process:
        evidence = await attestor.attest(process)
    attestor.close()
    engine.remove(id_)
    facts: dict[str, set[str]] = {}
    for selector in evidence.selectors:
        facts.setdefault(selector.type, set()).add(selector.value)
    assert (evidence.hints, set(facts)) == ((), {"docker", "posture", "unix"})
    return facts


def root_file_system() -> bytes:
    """A tar archive with busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox: not on PATH")
    root = BytesIO()
    with tarfile.open(fileobj=root, mode="w") as tar:
        for name in ("bin", "tmp", "usr", "run"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755 if name == "bin" else 0o777
            tar.addfile(directory)
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep", "cat", "true"):
            _add_link(tar, f"bin/{name}", "busybox")
        for name in ("lib", "lib64"):
            _add_link(tar, name, f"usr/{name}")
    return root.getvalue()


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)
