"""What goes to stderr: errors, hints, warnings, remarks and progress. Loads nothing heavy."""

from __future__ import annotations

import sys

__all__ = ["Progress", "clean", "say", "say_error", "say_hint", "say_warning"]


def clean(text: str) -> str:
    """One line without control characters: the text may have come from somebody who wants to write on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def say(text: str) -> None:
    print(clean(text), file=sys.stderr, flush=True)


def say_error(text: str, hint: str = "") -> None:
    """The one line in which a command fails, and what to do about it."""
    say(f"error: {text}")
    if hint:
        say_hint(hint)


def say_hint(text: str) -> None:
    say(f"hint: {text}")


def say_warning(text: str) -> None:
    say(f"warning: {text}")


class Progress:
    """One line on a terminal that is written over; nothing at all elsewhere."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if self._is_shown:
            text = clean(text)
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def end(self) -> None:
        """Take the line away."""
        if self._is_shown and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0
