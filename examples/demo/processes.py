"""The demo's processes: started in a process group of their own, heard line by line, and always ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from examples.demo.narration import CheckFailed
from examples.demo.programs import User

__all__ = ["PATIENCE", "Process", "ProcessReport"]

T = TypeVar("T")

# Everything that is waited for happens within a second or two; a machine with much else to do may take longer.
PATIENCE = 15.0
# A process that has been told to end does so at once, and `inborn up` stops three others in order.
_END_PATIENCE = 10.0
_LOG_TAIL = 2000  # characters of a log that are shown with a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReport:
    """One JSON line of a program. `at` is by this machine's monotonic clock."""

    number: int
    event: str
    at: float
    facts: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class _Heard:
    """What came from a process until now."""

    reports: list[ProcessReport] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    is_over: bool = False


class Process:
    """A process whose output is read by a thread. Ends with its standard input, by `end`, or killed by `end`."""

    def __init__(
        self,
        name: str,
        words: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        user: User | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._heard = _Heard()
        self._changed = threading.Condition()
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                list(words),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(env),
                start_new_session=True,  # a Ctrl-C is for the demo, which ends the others in order
                text=True,
                **({} if user is None else user.for_popen()),
            )
        threading.Thread(target=self._read, args=(self._popen.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def position(self) -> int:
        """How many reports there are; for `wait(after=...)`."""
        with self._changed:
            return len(self._heard.reports)

    def say(self, word: str) -> None:
        """Write a line to the process's standard input."""
        assert self._popen.stdin is not None  # noqa: S101 # opened as a pipe
        try:
            self._popen.stdin.write(word + "\n")
            self._popen.stdin.flush()
        except OSError as error:
            raise self._failed(f"{self.name} hears {word!r}", "it runs") from error

    def wait(
        self,
        event: str,
        *,
        after: int = 0,
        where: Callable[[Mapping[str, Any]], bool] = lambda facts: True,
        patience: float = PATIENCE,
        expected: str = "",
    ) -> ProcessReport:
        """The first report of `event` that is not among the first `after`. Raises `CheckFailed` if none comes."""

        def found(heard: _Heard) -> ProcessReport | None:
            return next((r for r in heard.reports[after:] if r.event == event and where(r.facts)), None)

        return self._wait(found, patience, f"{self.name} reports {event!r}", expected)

    def wait_for_text(self, part: str, *, patience: float = PATIENCE) -> str:
        """The first line of output that is no report and contains `part`."""
        return self._wait(
            lambda heard: next((line for line in heard.text if part in line), None),
            patience,
            f"{self.name} prints {part!r}",
            "",
        )

    def reports(self, event: str) -> list[ProcessReport]:
        """Those of this event until now."""
        with self._changed:
            return [report for report in self._heard.reports if report.event == event]

    def ask(self, word: str, event: str) -> ProcessReport:
        """Say a word and give the report that answers it."""
        position = self.position
        self.say(word)
        return self.wait(event, after=position)

    def end(self, *, signal_number: int | None = None) -> bool:
        """End it: by the end of its input, or by a signal; in the end by force. Tell whether it ended by itself."""
        if self._popen.stdin is not None:
            try:
                self._popen.stdin.close()
            except OSError:
                pass  # it has gone, with words unread
        if signal_number is not None and self._popen.poll() is None:
            self._popen.send_signal(signal_number)
        try:
            self._popen.wait(_END_PATIENCE)
            is_ended = True
        except subprocess.TimeoutExpired:
            is_ended = False
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
            is_ended = False  # there was somebody left in its group
        except ProcessLookupError:
            pass
        self._popen.wait()
        return is_ended

    def _wait(self, find: Callable[[_Heard], T | None], patience: float, what: str, expected: str) -> T:
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                found = find(self._heard)
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._heard.is_over:
                    raise self._failed(what, expected or f"within {patience:g} s")
                self._changed.wait(left)

    def _failed(self, what: str, expected: str) -> CheckFailed:
        status = self._popen.poll()
        last = [f"{report.event} {dict(report.facts)}" for report in self._heard.reports[-3:]]
        seen = "it runs" if status is None else f"it ended with status {status}"
        if last:
            seen += "; last reports: " + "; ".join(last)
        log = self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return CheckFailed(what, expected=expected, seen=seen + (f"; its log:\n{log}" if log else ""))

    def _read(self, out: IO[str]) -> None:
        for line in out:
            report = _parse(line)
            with self._changed:
                if report is None:
                    self._heard.text.append(line.rstrip("\n"))
                else:
                    event, at, facts = report
                    number = len(self._heard.reports)
                    self._heard.reports.append(ProcessReport(number=number, event=event, at=at, facts=facts))
                self._changed.notify_all()
        with self._changed:
            self._heard.is_over = True
            self._changed.notify_all()


def _parse(line: str) -> tuple[str, float, Mapping[str, Any]] | None:
    """A line of a program of ours; None for every other one."""
    try:
        document = json.loads(line)
        return str(document.pop("event")), float(document.pop("at")), document
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
