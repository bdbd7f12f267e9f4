"""One process that the supervisor has started, and the pipe on which it says that it is ready."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from inborn._internal.settings.document import command_line, sealed_document

__all__ = ["Account", "SupervisedChild", "spawn", "spawn_module"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_MAX_READY = 4096  # bytes of the line that says so

_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True, slots=True)
class Account:
    """A user to run as. Supplementary groups are dropped."""

    name: str
    uid: int
    gid: int


@dataclass(slots=True)
class SupervisedChild:
    """A running process. `ready_fd` is -1 once it has said that it is ready, or never will."""

    name: str
    process: subprocess.Popen[bytes]
    ready_fd: int
    is_ready: bool = False
    facts: Mapping[str, str] | None = None
    _said: bytes = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def read_ready(self) -> None:
        """Take what is in the pipe: one line, JSON or any other word, means ready; an end without one means never."""
        data = os.read(self.ready_fd, _MAX_READY)
        self._said += data
        if b"\n" in self._said:
            self.is_ready = True
            self.facts = _facts(self._said)
        if not data or self.is_ready or len(self._said) > _MAX_READY:
            self.forget_pipe()

    def forget_pipe(self) -> None:
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1

    def signal(self, number: int) -> None:
        if not self.has_ended:
            self.process.send_signal(number)

    def describe_end(self) -> str:
        """How it ended, for a log line."""
        status = self.process.returncode
        if status is None:
            return "running"
        return f"signal {-status}" if status < 0 else f"status {status}"


def spawn(
    name: str,
    command: Callable[[int], Sequence[str]],
    *,
    pass_fds: Sequence[int] = (),
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> SupervisedChild:
    """Start a program, anew and never as a fork of a loaded one. `command` is given the number of its ready pipe.

    The kernel kills it when we die, however we die. A terminal's Ctrl-C does not reach it: we stop it, in order.
    What it writes to standard output goes to standard error: ours is for data.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()

    def before_exec() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    try:
        words = command(theirs)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=[theirs, *pass_fds],
            process_group=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            env=environment,
            # Safe here: the supervisor has one thread.
            preexec_fn=before_exec,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return SupervisedChild(name=name, process=process, ready_fd=ours)


def spawn_module(
    name: str,
    module: str,
    settings: Callable[[int], object],
    *,
    pass_fds: Sequence[int] = (),
    account: Account | None = None,
) -> SupervisedChild:
    """Start one of our modules with its settings document. `settings` is given the number of its ready pipe."""
    descriptors = list(pass_fds)
    with ExitStack() as opened:

        def command(ready_fd: int) -> Sequence[str]:  # called before the descriptors are passed on
            document = sealed_document(settings(ready_fd))
            opened.callback(os.close, document)
            descriptors.append(document)
            # -P: a module in the current directory must not be taken for one of ours.
            return [sys.executable, "-P", "-m", module, *command_line(document)]

        return spawn(name, command, pass_fds=descriptors, account=account)


def _facts(line: bytes) -> Mapping[str, str]:
    try:
        facts = json.loads(line.split(b"\n")[0])
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
