"""Something that moves on, and whoever waits to see how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Progress", "seconds_to_wait"]

_MAX_WAIT = 30.0  # seconds; whoever wants to wait longer asks again

S = TypeVar("S")


def seconds_to_wait(wait_ms: int) -> float:
    """What an requester may wait out of what it asks for."""
    return min(max(wait_ms, 0) / 1000, _MAX_WAIT)


class Progress:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._has_moved = asyncio.Event()

    def moved(self) -> None:
        self._has_moved.set()

    async def until(
        self, look: Callable[[], S], is_enough: Callable[[S], bool], seconds: float, *, look_every: float | None = None
    ) -> S:
        """What is seen as soon as it is enough, else after the time. Looks whenever something has moved; `look_every`
        (seconds): also without, for what moves by the clock alone."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            self._has_moved.clear()
            seen = look()
            left = deadline - asyncio.get_running_loop().time()
            if is_enough(seen) or left <= 0:
                return seen
            try:
                async with asyncio.timeout(left if look_every is None else min(left, look_every)):
                    await self._has_moved.wait()
            except TimeoutError:
                pass
