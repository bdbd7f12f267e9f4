"""How a program is told to read its files anew: a signal to the process of a pid file, or a command."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from inborn.errors import RequestError, UnavailableError

__all__ = ["CommandReload", "NotReloaded", "Reload", "SignalReload"]

_COMMAND_TIME = 60.0  # seconds: systemctl reload waits for the unit; what takes longer hangs
_MAX_PID_FILE = 4096  # bytes: PostgreSQL's has eight lines
_SHOWN = 300  # characters of what a command said


class NotReloaded(UnavailableError):
    """A program could not be told."""


class Reload(Protocol):
    """Tells one program."""

    def run(self) -> None:
        """Raises `NotReloaded`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReload:
    """A signal to the process whose number is in the first line of a file."""

    number: signal.Signals
    pid_file: Path

    def run(self) -> None:
        pid = self._pid()
        try:
            descriptor = os.pidfd_open(pid)
        except OSError as e:
            raise NotReloaded(f"{self.pid_file} names process {pid}: {(e.strerror or '').lower()}") from e
        try:
            if self._pid() != pid:  # it was replaced while we looked, and the number may be somebody else's
                raise NotReloaded(f"{self.pid_file} is changing")
            signal.pidfd_send_signal(descriptor, self.number)
        except OSError as e:
            raise NotReloaded(f"process {pid} of {self.pid_file}: {(e.strerror or '').lower()}") from e
        finally:
            os.close(descriptor)

    def _pid(self) -> int:
        try:
            with open(self.pid_file, "rb") as file:
                first = file.read(_MAX_PID_FILE).split(b"\n", 1)[0].strip()
        except OSError as e:
            raise NotReloaded(f"{self.pid_file}: {(e.strerror or '').lower()}") from e
        if not first.isdigit() or len(first) > 9 or int(first) < 2:
            raise NotReloaded(f"{self.pid_file} names no process: {first[:20]!a}")
        return int(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReload:
    """A command, without a shell."""

    words: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """Split it as a shell would. Raises `RequestError`."""
        try:
            words = tuple(shlex.split(text))
        except ValueError as e:
            raise RequestError(f"not a command: {text[:100]!a}: {str(e).lower()}") from e
        if not words:
            raise RequestError("reload command is empty")
        return cls(words=words, environment=environment)

    def run(self) -> None:
        try:
            done = subprocess.run(
                self.words,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_COMMAND_TIME,
                check=False,
            )
        except OSError as e:
            raise NotReloaded(f"{self.words[0]}: {(e.strerror or str(e)).lower()}") from e
        except subprocess.TimeoutExpired as e:
            raise NotReloaded(f"{self.words[0]} did not end within {_COMMAND_TIME:g} s") from e
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()[-_SHOWN:]
            raise NotReloaded(f"{self.words[0]} failed with status {done.returncode}: {said}")
