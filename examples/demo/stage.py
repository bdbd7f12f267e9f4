"""Where the demo plays: a temporary directory, `inborn up` in it, and the daemons; all gone at its end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.demo.container import DemoContainer
from examples.demo.interruption import Interruptions
from examples.demo.narration import CheckFailed, Narrator
from examples.demo.processes import PATIENCE, Process
from examples.demo.programs import Programs, User, child_environment, users_of_their_own
from inborn._internal.host import paths

__all__ = ["Done", "Stage"]

_MODULE = "examples.demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has returned. Times are by this machine's monotonic clock."""

    status: int
    out: str
    err: str
    began: float
    returned: float


class Stage:
    """See the module. Use as a context manager."""

    def __init__(self, narrator: Narrator, interruptions: Interruptions) -> None:
        self._narrator, self._interruptions = narrator, interruptions
        self.directory = Path(tempfile.mkdtemp(prefix="inborn-demo-"))
        self.data = self.directory / "data"
        self.socket = paths.workload_socket(self.data)
        temporary = self.directory / "tmp"  # what a process that was killed leaves behind goes with the rest
        temporary.mkdir()
        temporary.chmod(0o1777)
        self.environment = child_environment(INBORN_DATA_DIR=str(self.data), TMPDIR=str(temporary))
        self.users: list[User] = []
        self.why_one_user = ""
        self._programs = Programs(self.directory)
        self._up: Process | None = None
        self._daemons: list[Process] = []
        self._container: DemoContainer | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._interruptions.held():
            try:
                self.end()
            finally:
                shutil.rmtree(self.directory, ignore_errors=True)

    def choose_users(self, count: int) -> None:
        """Users for that many daemons, where that is possible."""
        self.directory.chmod(0o711)
        self.users, self.why_one_user = users_of_their_own(self.program("stranger"), count, self.environment)
        if not self.users:
            self.directory.chmod(0o700)

    def user(self, number: int) -> User | None:
        return self.users[number] if self.users else None

    def program(self, name: str) -> Path:
        """The program of this name; made where there is none."""
        path = self.directory / "bin" / name
        return path if path.exists() else self._programs.make(name)

    def place(self, name: str, user: User | None) -> Path:
        """A directory of this daemon's own, which others can enter."""
        path = self.directory / name
        path.mkdir(mode=0o755)
        if user is not None:
            shutil.chown(path, user.uid, user.uid)
        return path

    def up(self, *words: str) -> Process:
        """Print and start `inborn up`; it is not waited for."""
        self._narrator.command(["inborn", "up", *words])
        command = [sys.executable, "-m", "inborn_cli", "up", *words]
        with self._interruptions.held():
            self._up = Process("inborn up", command, log=self.directory / "up.log", env=self.environment)
        return self._up

    def daemon(self, name: str, module: str, user: User | None, *words: str) -> Process:
        """Start one of our programs under its own executable and user."""
        command = [str(self.program(name)), "-m", f"{_MODULE}.{module}", "--socket", str(self.socket), *words]
        return self._start(name, command, user)

    def adopt(self, container: DemoContainer) -> None:
        """Take it away at the end, however far it has come."""
        self._container = container

    def daemon_in(self, container: DemoContainer, name: str, module: str, user: User | None, *words: str) -> Process:
        """Start one of our programs in a container that was adopted and whose image has been made."""
        program = self.program(name)
        mounts = [program, self.directory / "pyvenv.cfg", self.socket.parent, self.directory / "pay"]
        command = [str(program), "-m", f"{_MODULE}.{module}", "--socket", str(self.socket), *words]
        return self._start(
            name, container.words(command, user=user, mounts=mounts, environment=self.environment), None, container
        )

    def inborn(
        self, *words: str, program: Path | None = None, user: User | None = None, note: str = "", is_fine: bool = True
    ) -> Done:
        """Print a command and run it; as `user` with `program` as its interpreter, for what a daemon would be told.

        Raises `CheckFailed` if it fails where it should not.
        """
        self._narrator.command(["inborn", *words], note)
        began = time.monotonic()
        try:
            done = subprocess.run(
                [program or sys.executable, "-m", "inborn_cli", *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                start_new_session=True,
                **({} if user is None else user.for_popen()),
            )
        except subprocess.TimeoutExpired as error:
            raise CheckFailed(
                f"inborn {words[0]} returns", expected=f"within {PATIENCE:g} s", seen="not yet"
            ) from error
        returned = time.monotonic()
        if is_fine and done.returncode != 0:
            said = f"status {done.returncode}: {done.stderr.strip()}"
            raise CheckFailed(f"inborn {' '.join(words[:2])} succeeds", expected="status 0", seen=said)
        return Done(status=done.returncode, out=done.stdout, err=done.stderr, began=began, returned=returned)

    def end(self) -> list[str]:
        """End everything; the names of those that had to be ended by force. May be called again."""
        forced = [daemon.name for daemon in reversed(self._daemons) if not daemon.end()]  # the server last
        self._daemons.clear()
        if self._container is not None:
            self._container.remove()
            self._container = None
        if self._up is not None and not self._up.end(signal_number=signal.SIGTERM):
            forced.append(self._up.name)
        self._up = None
        return forced

    def _start(
        self, name: str, command: Sequence[str], user: User | None, container: DemoContainer | None = None
    ) -> Process:
        environment = self.environment if container is None else dict(container.environment)
        with self._interruptions.held():
            process = Process(name, command, log=self.directory / f"{name}.log", env=environment, user=user)
            self._daemons.append(process)
        return process
