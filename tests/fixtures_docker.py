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

# dockerd is up within a second; a machine with much else to do may take longer.
START_TIMEOUT = 60
STOP_TIMEOUT = 30


@dataclass
class DockerEngine:
    """An engine that answers on `socket`. Containers started here are removed at the end."""

    socket: str
    containers: list[str] = field(default_factory=list)

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker command; give what it printed."""
        done = subprocess.run(
            ["docker", *arguments],
            env=os.environ | {"DOCKER_HOST": f"unix://{self.socket}"},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=START_TIMEOUT,
        )
        if done.returncode != 0:
            raise AssertionError(f"docker {arguments[0]}: {done.stderr.decode(errors='replace')}")
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
        yield from _own_engine()
        return
    engine = DockerEngine(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    try:
        engine.docker("version")
    except (AssertionError, subprocess.TimeoutExpired):
        pytest.skip("needs docker: no engine answers, and none can be started (that takes root and dockerd)")
    yield engine
    for id_ in list(engine.containers):
        engine.remove(id_)


def _own_engine() -> Iterator[DockerEngine]:
    directory = Path(tempfile.mkdtemp(prefix="inborn-docker-"))
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(directory / "ready"))
    ready.settimeout(START_TIMEOUT)
    engine = DockerEngine(str(directory / "docker.sock"))
    log = directory / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                "dockerd",
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                "--storage-driver=vfs",
                f"--data-root={directory}/data",
                f"--exec-root={directory}/exec",
                f"--pidfile={directory}/pid",
                "--containerd-namespace=inborn-tests",
                "--containerd-plugins-namespace=inborn-tests-plugins",
                f"--host=unix://{engine.socket}",
            ],
            env=os.environ | {"NOTIFY_SOCKET": str(directory / "ready")},
            stdout=output,
            stderr=output,
        )
    try:
        while b"READY=1" not in ready.recv(4096).split(b"\n"):
            pass
        yield engine
        for id_ in list(engine.containers):
            engine.remove(id_)
    except TimeoutError:
        pytest.fail(f"dockerd does not start: {log.read_text(errors='replace')[-2000:]}")
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


@pytest.fixture(scope="session")
def docker_image(docker_engine: DockerEngine) -> Iterator[str]:
    """An image with busybox as its shell, a label and a variable.

    Mount the host's /usr at /usr and it has everything else of the host as well, its Python among it.
    """
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
    name = f"inborn-test:{os.getpid()}"
    changes = ["LABEL com.example.team=payments", "ENV APP_ENV=test", 'CMD ["/bin/sleep", "600"]']
    options = [option for change in changes for option in ("--change", change)]
    docker_engine.docker("import", *options, "-", name, stdin=root.getvalue())
    yield name
    for id_ in list(docker_engine.containers):
        docker_engine.remove(id_)
    docker_engine.docker("rmi", "--force", name)


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)
