"""Serial numbers that rise strictly for each CA instance, whatever the clock does, and across restarts.

19 octets: 48 bits of milliseconds since 1970, a 16-bit counter, 88 random bits. (milliseconds, counter) is the larger
of (now, 0) and the last one plus 1; the counter carries into the milliseconds. So "everything issued up to here" is a
comparison of serials, a range of time is a range of serials, and nobody can guess the next one (RFC 5280 4.1.2.2).

The time in a serial is never before the time of issue; it is ahead of it where the clock was set back.
"""

from __future__ import annotations

import datetime as dt
import re

from inborn.errors import InternalError, UnavailableError
from inborn_ca.certificates.profile import SERIAL_OCTETS

__all__ = ["RANDOM_OCTETS", "ClockOutOfRange", "SerialSource", "serial_floor", "serial_time"]

RANDOM_OCTETS = 11

# Below, a serial would begin with a zero octet, which DER leaves out; above, it would be negative.
_MIN_MS = 1 << 40  # 2004-11-03
_MAX_MS = (1 << 47) - 1  # year 6429
_COUNTERS = 1 << 16

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)
_STATE = re.compile(r"([0-9]{1,15}):([0-9]{1,5})")


class ClockOutOfRange(UnavailableError):
    """The machine's clock is so far off that no serial can be made."""


class SerialSource:
    """Makes serials. Not safe for use from several threads at once.

    `state` must be durable before a serial that was made is used, in the same transaction as the serial itself.
    """

    __slots__ = ("_counter", "_ms")

    def __init__(self, last_ms: int = 0, last_counter: int = 0) -> None:
        if not 0 <= last_ms <= _MAX_MS or not 0 <= last_counter < _COUNTERS:
            raise InternalError(f"last serial is out of range: {last_ms}:{last_counter}")
        self._ms, self._counter = last_ms, last_counter

    def next(self, now: dt.datetime, random: bytes) -> bytes:
        """The next serial. `random` are 11 octets from a cryptographic source.

        Raises `ClockOutOfRange` when the milliseconds do not fit; the state is unchanged then.
        """
        if len(random) != RANDOM_OCTETS:
            raise InternalError(f"a serial takes {RANDOM_OCTETS} random octets, got {len(random)}")
        last = self._ms * _COUNTERS + self._counter
        position = max(max(_milliseconds(now), _MIN_MS) * _COUNTERS, last + 1)
        ms, counter = divmod(position, _COUNTERS)
        if ms > _MAX_MS:
            raise ClockOutOfRange(f"no serial can be made for {now:%Y-%m-%d}, or for what was issued last")
        self._ms, self._counter = ms, counter
        return position.to_bytes(8, "big") + random

    @property
    def state(self) -> str:
        """What `from_state` takes, to go on above everything that was made."""
        return f"{self._ms}:{self._counter}"

    @property
    def ceiling(self) -> bytes:
        """At or above every serial that was made, and below every one that will be: the cut-off of a revocation."""
        return (self._ms * _COUNTERS + self._counter).to_bytes(8, "big") + b"\xff" * RANDOM_OCTETS

    @classmethod
    def from_state(cls, state: str) -> SerialSource:
        """Go on from a stored state. Raises `InternalError` if it is none: guessing could make a serial twice."""
        match = _STATE.fullmatch(state)
        if match is None:
            raise InternalError(f"stored state of serials is not MS:COUNTER: {state[:40]!a}")
        return cls(int(match[1]), int(match[2]))


def serial_time(serial: bytes) -> dt.datetime:
    """The time in a serial: that of its issue, or later where the clock was set back."""
    if len(serial) != SERIAL_OCTETS:
        raise InternalError(f"serial has {len(serial)} octets, not {SERIAL_OCTETS}")
    return _EPOCH + _MS * int.from_bytes(serial[:6], "big")


def serial_floor(time: dt.datetime) -> bytes:
    """The smallest serial of a time: what was issued at or after `time` has a serial at or above it."""
    ms = min(max(_milliseconds(time), _MIN_MS), _MAX_MS)
    return ms.to_bytes(6, "big") + bytes(SERIAL_OCTETS - 6)


def _milliseconds(time: dt.datetime) -> int:
    return (time - _EPOCH) // _MS
