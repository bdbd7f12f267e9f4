"""Podman's service for tests, with images and containers of its own; the machine's configuration plays no part."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rigs.fixtures_docker import STOP_TIMEOUT, DockerEngine, import_image

# Limits that an ordinary root may set; those that Podman sets by itself take CAP_SYS_RESOURCE.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@dataclass
class PodmanEngine(DockerEngine):
    """Podman's service answers on `socket`; `docker` runs the podman command, which takes the same words."""

    directory: Path = Path("/")

    @property
    def command(self) -> list[str]:
        return [
            "podman",
            f"--root={self.directory}/root",
            f"--runroot={self.directory}/run",
            f"--tmpdir={self.directory}/tmp",
            f"--runtime={shutil.which('runc')}",
            "--cgroup-manager=cgroupfs",
            "--storage-driver=vfs",
            "--events-backend=none",
            "--log-level=error",
        ]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"CONTAINERS_CONF": f"{self.directory}/containers.conf"}

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        if arguments[:2] == ("rm", "--force"):
            arguments = ("rm", "--force", "--time=0", *arguments[2:])
        return super().docker(*arguments, stdin=stdin)


@pytest.fixture(scope="module")
def podman_engine() -> Iterator[PodmanEngine]:
    """A service that is started by a socket, as systemd does it: it answers from the first connection on."""
    if os.geteuid() != 0 or shutil.which("podman") is None or shutil.which("runc") is None:
        pytest.skip("needs podman: root, podman and runc")
    directory = Path(tempfile.mkdtemp(prefix="inborn-podman-"))
    (directory / "containers.conf").write_text(CONFIGURATION)
    engine = PodmanEngine(str(directory / "podman.sock"), directory=directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(engine.socket)
        listener.listen()
        script = 'exec 3<&"$1"; shift; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        service = subprocess.Popen(
            ["bash", "-c", script, "bash", str(listener.fileno()), *engine.command, "system", "service", "--time=0"],
            pass_fds=[listener.fileno()],
            env=engine.environment,
            stderr=subprocess.DEVNULL,
        )
    yield engine
    for id_ in list(engine.containers):
        engine.remove(id_)
    service.terminate()
    try:
        service.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
    shutil.rmtree(directory, ignore_errors=True)
    for parent in Path("/sys/fs/cgroup").glob("**/libpod_parent"):
        for group in (parent / "conmon", parent):
            try:
                group.rmdir()
            except OSError:
                pass  # another Podman's containers are in it


@pytest.fixture(scope="module")
def podman_image(podman_engine: PodmanEngine) -> str:
    """The image of the Docker tests, in there."""
    name = "localhost/inborn-test:1"
    import_image(podman_engine, name)
    return name
