"""What the demo prints, and the checks that it prints them for: nothing is narrated that was not seen."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Sequence
from typing import TextIO

from inborn.errors import InbornError

__all__ = ["CheckFailed", "Narrator", "after"]

_WIDTH = 110
# What a command says is shown, but not pages of it.
_SHOWN_LINES = 12


class CheckFailed(InbornError):
    """A step of the demo did not do what it should."""

    def __init__(self, what: str, *, expected: str, seen: str) -> None:
        super().__init__(what)
        self.expected, self.seen = expected, seen


class Narrator:
    """Writes the story, counts its checks and measures its time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()
        self._chapters = 0
        self.checks = 0

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        self._line(text)

    def chapter(self, text: str) -> None:
        self._chapters += 1
        self._line(f"\n{self._chapters}. {text}")

    def say(self, text: str) -> None:
        """A remark that claims nothing to have been checked."""
        for line in textwrap.wrap(text, _WIDTH - 3, break_long_words=False, break_on_hyphens=False):
            self._line(f"   {line}")

    def command(self, words: Sequence[str], note: str = "") -> None:
        """A command, as somebody would type it."""
        self._line(f"   $ {shlex.join(words)}" + (f"    # {note}" if note else ""))

    def output(self, text: str) -> None:
        """What a command said."""
        lines = text.rstrip().splitlines()
        for line in lines[:_SHOWN_LINES]:
            self._line(f"     {line}")
        if len(lines) > _SHOWN_LINES:
            self._line(f"     ... ({len(lines) - _SHOWN_LINES} lines more)")

    def check(self, what: str, is_true: bool, *, expected: str, seen: object) -> None:
        """Print `what` if it is so. Raises `CheckFailed` if not."""
        if not is_true:
            raise CheckFailed(what, expected=expected, seen=str(seen))
        self.confirm(what)

    def confirm(self, what: str) -> None:
        """Print what has just been checked, by waiting for exactly that."""
        self.checks += 1
        lines = textwrap.wrap(what, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines):
            self._line(f"   {'[ok]' if number == 0 else '    '} {line}")

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def after(at: float, moment: float, what: str) -> str:
    """When something happened, in words, measured from the moment of something else."""
    ms = (at - moment) * 1000
    return f"{ms:.0f} ms after {what}" if ms >= 0 else f"{-ms:.0f} ms before {what}"
