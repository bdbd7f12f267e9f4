"""Which libraries follow the revocations, how far each is, and what the CA is told about it. Pure.

The CA hears the lowest revocation that everybody here has applied. Whoever is behind for longer than a moment is named;
nobody waits for it. A library that has just come is up to date: it is given the revocations before its identity.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

__all__ = ["LAG_LIMIT", "MAX_LAGGARDS", "AppliedReport", "Attendance"]

LAG_LIMIT = dt.timedelta(seconds=2)
"""A library applies a revocation in milliseconds; a process that was stopped or hangs does not."""

MAX_LAGGARDS = 100
"""Named in one acknowledgement (the wire's limit); there may be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedReport:
    """`revocation_seq` has been applied by everybody; `laggards` are those who keep it from being more."""

    revocation_seq: int
    laggards: tuple[str, ...]


@dataclass(slots=True)
class _Attendee:
    name: str
    seq: int
    behind_since: dt.datetime | None = None


class Attendance:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self.log_id = b""
        self.seq = 0
        self._attendees: dict[int, _Attendee] = {}

    def __len__(self) -> int:
        return len(self._attendees)

    def joined(self, number: int, name: str) -> None:
        """Somebody was given all that is known now."""
        self._attendees[number] = _Attendee(name=name, seq=self.seq)

    def left(self, number: int) -> None:
        self._attendees.pop(number, None)

    def published(self, log_id: bytes, seq: int, now: dt.datetime) -> None:
        """The revocation log is that long now."""
        if log_id != self.log_id:
            # Numbers of another log mean nothing in this one: everybody starts from nothing.
            for attendee in self._attendees.values():
                attendee.seq = 0
        self.log_id, self.seq = log_id, seq
        for attendee in self._attendees.values():
            if attendee.seq < seq and attendee.behind_since is None:
                attendee.behind_since = now

    def acknowledged(self, number: int, log_id: bytes, seq: int) -> None:
        """A library says how far it is. What lies beyond the log, or is of another one, is not believed."""
        attendee = self._attendees.get(number)
        if attendee is None or log_id != self.log_id or not attendee.seq <= seq <= self.seq:
            return
        attendee.seq = seq
        if seq == self.seq:
            attendee.behind_since = None

    def report(self, now: dt.datetime) -> AppliedReport:
        """What the CA is told now."""
        late = [a for a in self._attendees.values() if a.behind_since is not None and now - a.behind_since >= LAG_LIMIT]
        return AppliedReport(
            revocation_seq=min((attendee.seq for attendee in self._attendees.values()), default=self.seq),
            laggards=tuple(sorted(attendee.name for attendee in late))[:MAX_LAGGARDS],
        )

    def next_deadline(self, now: dt.datetime) -> dt.datetime | None:
        """When the report will name somebody whom it does not name yet."""
        times = [a.behind_since + LAG_LIMIT for a in self._attendees.values() if a.behind_since is not None]
        return min((time for time in times if time > now), default=None)
