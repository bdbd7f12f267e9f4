"""Numbers of signed requests, which rise for each key."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RequestNumbers"]


class RequestNumbers:
    """Numbers that rise strictly for one key, also across a crash: a block is reserved before its numbers are used.

    `reserve` keeps a number durably, and returns when it is kept; `reserved` is what it kept last.
    """

    _BLOCK = 1024  # numbers that one write covers, and that a restart skips at most

    def __init__(self, reserved: int, reserve: Callable[[int], None]) -> None:
        self._last = self._reserved = reserved
        self._reserve = reserve

    def next(self) -> int:
        if self._last == self._reserved:
            self._reserve(self._reserved + self._BLOCK)
            self._reserved += self._BLOCK
        self._last += 1
        return self._last
