"""Ctrl-C, SIGTERM and SIGHUP as an exception, but never between the start of a process and the note that it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "Interruptions"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the demo to end. No `Exception`: nothing but the end of the demo handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Interruptions:
    """Turns signals into `Interrupted`, in the main thread. The first one counts; later ones find the end under way."""

    def __init__(self) -> None:
        self._holds = 0
        self._came: int | None = None
        self._is_raised = False

    def install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What comes meanwhile is raised at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._raise_if_due()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = self._came or number
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._came is not None and not self._is_raised and self._holds == 0:
            self._is_raised = True
            raise Interrupted(self._came)
