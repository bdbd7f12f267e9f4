"""When a process that has died is started again (no input or output; times are monotonic seconds).

Who died while serving is started again for ever, at once the first time and with growing pauses when it happens again
and again: there it is better to serve half of the time than not at all. Who never came up is another matter: after so
many attempts within a minute something is wrong that no further attempt will mend. Who was killed (SIGKILL) has not
failed: that came from outside, from an admin or a machine without memory, and may be over at the next attempt.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Restarts"]

WINDOW = 60.0  # seconds
MAX_FAILED_STARTS = 10  # within the window
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0  # after a death while serving, or by SIGKILL
LONGEST_PAUSE_FAILED = 5.0  # after a failed start: ten of them take half of the window
STABLE_AFTER = 10.0  # seconds of service after which a death counts as the first one


class Restarts:
    """The memory of one unit's deaths."""

    def __init__(self, *, max_failed_starts: int = MAX_FAILED_STARTS) -> None:
        self._max_failed_starts = max_failed_starts
        self._failed_starts: deque[float] = deque()
        self._in_a_row = 0

    def died(self, now: float, *, served: float | None, was_killed: bool = False) -> float | None:
        """The pause in seconds before the next start; None: give up. `served`: for how long; None: never came up."""
        longest = LONGEST_PAUSE
        if served is None and not was_killed:
            longest = LONGEST_PAUSE_FAILED
            self._failed_starts.append(now)
            while now - self._failed_starts[0] > WINDOW:
                self._failed_starts.popleft()
            if len(self._failed_starts) >= self._max_failed_starts:
                return None
        elif served is not None and served >= STABLE_AFTER:
            self._in_a_row = 0
        self._in_a_row += 1
        if self._in_a_row == 1:
            return 0.0
        return min(longest, FIRST_PAUSE * float(2 ** min(self._in_a_row - 2, 16)))
