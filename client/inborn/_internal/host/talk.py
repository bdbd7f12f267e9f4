"""What goes to stderr: errors, hints, warnings, remarks and progress. Loads nothing heavy."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["ProgressLine", "clean", "lead_nowhere", "say", "say_error", "say_hint", "say_warning"]


def clean(text: str) -> str:
    """One line without control characters: the text may have come from somebody who wants to write on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def say(text: str) -> None:
    """One line. A standard error that is full, or that nobody reads any more, ends no command."""
    try:
        print(clean(text), file=sys.stderr, flush=True)
    except OSError:
        lead_nowhere(sys.stderr)


def lead_nowhere(stream: TextIO) -> None:
    """What the stream still holds, and all that follows, is dropped: the interpreter flushes once more at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say_error(text: str, hint: str = "") -> None:
    """The one line in which a command fails, and what to do about it."""
    say(f"error: {text}")
    if hint:
        say_hint(hint)


def say_hint(text: str) -> None:
    say(f"hint: {text}")


def say_warning(text: str) -> None:
    say(f"warning: {text}")


_BAR = 24  # characters
_NARROW = 80  # columns of a terminal that does not say how many it has


class ProgressLine:
    """One line on a terminal that is written over; nothing at all elsewhere."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._width = 0

    def bar(self, done: int, total: int, text: str) -> None:
        """A bar, full when `done` has reached `total`, and the text behind it."""
        full = _BAR if total <= 0 else max(0, min(_BAR, _BAR * done // total))
        self.show(f"[{'#' * full}{'.' * (_BAR - full)}] {text}")

    def show(self, text: str) -> None:
        if self._is_shown:
            text = clean(text)[: _columns() - 1]  # a line that wraps cannot be written over
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def end(self) -> None:
        """Take the line away."""
        if self._is_shown and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _NARROW
    except OSError:
        return _NARROW
