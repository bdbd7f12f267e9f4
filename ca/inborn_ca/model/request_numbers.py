"""Numbers of signed requests: each is taken once, and only if it is near the highest.

Requests of one requester may overtake each other on their way, so a number below the highest is still good if it lies
in the window and has not been used (the method of RFC 4303 3.4.3). `used` is a set of bits: bit i stands for `last` -
i.
"""

from __future__ import annotations

__all__ = ["WINDOW", "WINDOW_OCTETS", "take"]

WINDOW = 256  # numbers: an agent has one request under way, a burst of a test a hundred
WINDOW_OCTETS = WINDOW // 8

_MASK = (1 << WINDOW) - 1


def take(last: int, used: int, number: int) -> tuple[int, int] | None:
    """The new (last, used) after `number` was taken; None if it was used before or lies below the window."""
    if number <= 0:
        return None
    if number > last:
        return number, (used << min(number - last, WINDOW) | 1) & _MASK
    bit = 1 << (last - number) if last - number < WINDOW else 0
    if not bit or used & bit:
        return None
    return last, used | bit
