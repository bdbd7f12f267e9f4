"""`inborn up` and `inborn ca run` as processes, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inborn._internal.host.paths import admin_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_proto import admin_pb2

UP_TIME = 60.0  # seconds, on a machine that is swamped


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


# As root, a CA runs its parts as users of certain names where the machine has them; those could not enter a directory
# of pytest's. A test of such users names them itself.
OURSELVES = {"INBORN_SIGNER_USER": "root", "INBORN_FRONT_USER": "root"} if os.geteuid() == 0 else {}


def environment() -> dict[str, str]:
    """Ours, without what would point at another CA."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("INBORN_", "SPIFFE_"))}
    return kept | OURSELVES | {"PYTHONPATH": os.pathsep.join(sys.path)}


@dataclass
class Running:
    """One supervisor. Its standard error is read as it comes."""

    process: subprocess.Popen[str]
    data_dir: Path
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def stderr(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, seconds: float = UP_TIME) -> None:
        wait_until(lambda: any(text in line for line in self.lines) or self.process.poll() is not None, text, seconds)
        assert any(text in line for line in self.lines), f"{text!r} is missing in:\n{self.stderr}"

    def children(self) -> dict[str, int]:
        """Name -> pid of signer, front and agent, those that run now."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                words = (path.parent / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and fields[0] != "Z" and b"-m" in words:
                found[words[words.index(b"-m") + 1].decode().removeprefix("inborn_").removeprefix("ca.")] = int(
                    path.parent.name
                )
        return found

    def status(self) -> admin_pb2.StatusResponse:
        with AdminClient(admin_socket(self.data_dir)) as client:
            return client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())

    def kill(self, name: str) -> int:
        """kill -9 of one process; returns its pid."""
        pid = self.children()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the supervisor and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        self.reader.join(10)
        return status


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that answers nobody, and does not die of it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def started(data_dir: Path, *arguments: str, verb: tuple[str, ...] = ("up",)) -> Iterator[Running]:
    """A supervisor that is being started; whatever is left of it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "inborn_cli", *verb, "--data-dir", str(data_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    running = Running(process, data_dir)
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def up(data_dir: Path, *arguments: str) -> Iterator[Running]:
    """`inborn up`, serving."""
    with started(data_dir, *arguments) as running:
        running.wait_for("inborn is up")
        yield running
