"""How much the front takes on at once. What is over a limit is refused at once, with a clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inborn.errors import ExhaustedError

__all__ = ["Admission", "TokenBucket"]

MAX_OPEN = 16_384  # calls that wait for the signer: a burst of 10,000 fits
MAX_OPEN_OCTETS = 128 * 1024 * 1024  # of their requests: 250 kB/call would be far from ours (1 to 100 kB)
MAX_STREAMS = 40_000  # an agent has two, about 115 kB with their connection


class Admission:
    """Counts calls and streams. Used on the event loop alone."""

    def __init__(
        self, *, max_open: int = MAX_OPEN, max_octets: int = MAX_OPEN_OCTETS, max_streams: int = MAX_STREAMS
    ) -> None:
        self._max_open = max_open
        self._max_octets = max_octets
        self._max_streams = max_streams
        self.open = 0
        self.octets = 0
        self.streams = 0

    @contextmanager
    def call(self, octets: int) -> Iterator[None]:
        """Hold a place for one call with a request of that size. Raises `ExhaustedError`."""
        if self.open >= self._max_open:
            raise ExhaustedError(f"more than {self._max_open} calls are open", hint="try again in a second")
        if self.octets + octets > self._max_octets:
            raise ExhaustedError(f"open calls hold more than {self._max_octets} bytes", hint="try again in a second")
        self.open += 1
        self.octets += octets
        try:
            yield
        finally:
            self.open -= 1
            self.octets -= octets

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a place for one stream. Raises `ExhaustedError`."""
        if self.streams >= self._max_streams:
            raise ExhaustedError(f"more than {self._max_streams} streams are open")
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1


class TokenBucket:
    """So many at once, so many a second after that. `now` is a monotonic time in seconds."""

    def __init__(self, *, burst: int, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._level = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more may pass."""
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
