"""`inborn exec -- CMD`: start a program once it has an identity, and keep the files of it fresh."""

from __future__ import annotations

import datetime as dt
import os
import queue
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from inborn._internal.host.talk import say, say_error, say_hint, say_warning
from inborn._internal.source.snapshot import IdentitySource, NoIdentity, Snapshot
from inborn.errors import RequestError
from inborn_cli.options import DURATION, example, socket_option
from inborn_cli.typed_values import format_duration
from inborn_cli.workload.agent_connection import workload_endpoint
from inborn_cli.workload.foreground_child import (
    Ended,
    ForegroundChild,
    PassedSignal,
    block_signals,
    parse_signal,
    watch_signals,
)
from inborn_cli.workload.identity_files import BUNDLE_FILE, CRL_FILE, KEY_FILE, SVID_FILE, FileSet, identity_files
from inborn_cli.workload.memory import private_memory_directory
from inborn_cli.workload.own_identity import choose_svid, open_source

__all__ = ["execute"]

# What shells and env(1) answer for a program that is not there, or cannot be run.
_NOT_FOUND = 127
_NOT_RUNNABLE = 126

# A source says at once when there is an identity; why there is none may change without a word.
_RECONSIDER = 1.0  # seconds


class _SignalType(click.ParamType):  # type: ignore[type-arg] # takes no parameter before click 8.4
    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> signal.Signals:
        try:
            return value if isinstance(value, signal.Signals) else parse_signal(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    help="Start CMD once it has an identity, hand it files and environment, and keep the files fresh. Signals and the "
    "exit status pass through.\n\n"
    "CMD finds SPIFFE_ENDPOINT_SOCKET, INBORN_SVID_DIR, INBORN_SVID_FILE, INBORN_KEY_FILE, INBORN_BUNDLE_FILE and "
    "INBORN_CRL_FILE. The identity is that of this command, not of CMD: both run as the same user, and what a selector "
    "of the path sees is this command's interpreter.\n\n"
    + example("inborn exec --renew-signal HUP -- nginx -g 'daemon off;'"),
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--renew-signal", type=_SignalType(), help="Send this to CMD after the files have changed.")
@click.option("--write", "directory", type=click.Path(path_type=Path), help="Where the files lie (default: in memory).")
@click.option("--hint", help="The identity with this hint, where there are several.")
@click.option("--timeout", type=DURATION, help="Give up if there is no identity after this time (default: never).")
@socket_option
def execute(
    command: tuple[str, ...],
    renew_signal: signal.Signals | None,
    directory: Path | None,
    hint: str | None,
    timeout: dt.timedelta | None,
    socket: str | None,
    data_dir: Path | None,
) -> None:
    context = click.get_current_context()
    if shutil.which(command[0]) is None:
        say_error(f"{command[0]}: no such program")
        context.exit(_NOT_FOUND)
    mask = block_signals()
    endpoint = workload_endpoint(socket, data_dir)
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    watch_signals(events)
    with _directory(directory) as files, open_source(endpoint) as source:
        unsubscribe = source.subscribe(events.put)
        try:
            run = _Run(command, _environment(endpoint, files.directory), files, renew_signal, hint, mask, events)
            status = run.wait_for_identity(source, timeout)
            if status is None:
                status = run.until_end()
        finally:
            unsubscribe()
    context.exit(status)


@contextmanager
def _directory(named: Path | None) -> Iterator[FileSet]:
    """Where the files lie; what is in it afterwards is taken away."""
    if named is not None:
        files = FileSet(named.absolute())
        try:
            yield files
        finally:
            if files.directory.is_dir():
                files.remove()
        return
    memory = private_memory_directory()
    if memory is None:
        say_warning("no directory in memory (tmpfs): the key is written to a disk")
    with tempfile.TemporaryDirectory(prefix="inborn-exec-", dir=memory) as made:
        yield FileSet(Path(made))


def _environment(endpoint: str, directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SPIFFE_ENDPOINT_SOCKET": endpoint,
        "INBORN_SVID_DIR": str(directory),
        "INBORN_SVID_FILE": str(directory / SVID_FILE),
        "INBORN_KEY_FILE": str(directory / KEY_FILE),
        "INBORN_BUNDLE_FILE": str(directory / BUNDLE_FILE),
        "INBORN_CRL_FILE": str(directory / CRL_FILE),
    }


class _Run:
    """One program, its files, and what happens to them in order."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        files: FileSet,
        renew_signal: signal.Signals | None,
        hint: str | None,
        mask: set[signal.Signals | int],
        events: queue.SimpleQueue[object],
    ) -> None:
        self._command = command
        self._environment = environment
        self._files = files
        self._renew_signal = renew_signal
        self._hint = hint
        self._mask = mask
        self._events = events
        self._started = time.monotonic()  # for a moment, that the agent has not answered yet is no news
        self._written: dict[str, bytes] = {}
        self._complaint = ""

    def wait_for_identity(self, source: IdentitySource, timeout: dt.timedelta | None) -> int | None:
        """Write the first files. An exit status if it does not come to that."""
        end = None if timeout is None else time.monotonic() + timeout.total_seconds()
        event: object = source.snapshot()
        while True:
            if isinstance(event, PassedSignal) and event.number != signal.SIGWINCH:
                return 128 + event.number
            if isinstance(event, Snapshot) and self._write(event):
                return None
            left = _RECONSIDER if end is None else min(_RECONSIDER, end - time.monotonic())
            if left <= 0:
                say_error(f"no identity within {format_duration(timeout or dt.timedelta())}")
                say_hint("inborn why says which selectors this process has")
                return 1
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                event = source.snapshot()

    def until_end(self) -> int:
        """Start the program, and serve it until its end; its exit status."""
        try:
            child = ForegroundChild(self._command, self._environment, mask=self._mask, events=self._events)
        except OSError as error:
            say_error(f"{self._command[0]}: {(error.strerror or str(error)).lower()}")
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE
        while True:
            match self._events.get():
                case Ended() as ended:
                    return ended.status
                case PassedSignal() as came if not came.is_everybodys:
                    child.send(came.number)
                case Snapshot() as snapshot:
                    if self._write(snapshot) and self._renew_signal is not None:
                        child.send(self._renew_signal)

    def _write(self, snapshot: Snapshot) -> bool:
        """Write the files if they are other ones now; whether that was done. What fails is said, once."""
        try:
            files = identity_files(snapshot, choose_svid(snapshot, self._hint))
            if files == self._written:
                return False
            self._files.write(files)
        except (NoIdentity, RequestError, OSError) as error:
            if str(error) != self._complaint and (self._written or time.monotonic() >= self._started + _RECONSIDER):
                self._complaint = str(error)
                say(f"waiting: {error}" if not self._written else f"the files stay as they are: {error}")
            return False
        self._written, self._complaint = files, ""
        return True
