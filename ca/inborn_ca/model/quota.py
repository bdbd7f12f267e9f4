"""How much one caller may ask for: so much at once, and so much more each second (pure; time is a parameter)."""

from __future__ import annotations

from inborn.errors import ExhaustedError

__all__ = ["Quota"]

MAX_CALLERS = 20_000  # that are remembered; the longest silent are forgotten, and their quota is full again anyway


class Quota:
    """A bucket for each caller that fills up again."""

    def __init__(self, what: str, *, capacity: float, per_second: float, max_callers: int = MAX_CALLERS) -> None:
        self._what = what
        self._capacity = capacity
        self._per_second = per_second
        self._max_callers = max_callers
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, count: float, now: float) -> None:
        """Take so much, or raise `ExhaustedError` and take nothing. `now` in seconds, monotonic."""
        left, since = self._left.pop(caller, (self._capacity, now))
        left = min(self._capacity, left + max(0.0, now - since) * self._per_second)
        is_enough = count <= left
        self._left[caller] = (left - count if is_enough else left, now)
        if len(self._left) > self._max_callers:
            del self._left[next(iter(self._left))]
        if not is_enough:
            raise ExhaustedError(
                f"quota of {caller} for {self._what} has {left:.0f} left, {count:.0f} are asked for", hint="try later"
            )
