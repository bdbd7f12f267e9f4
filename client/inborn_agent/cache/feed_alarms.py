"""What the agent was shown that no honest CA shows: gaps, a state from before, another log, what nobody signed (pure).

None of it is believed, and no denial is given up for it; but somebody has to look. An alarm stands in the agent's
status for a day, with how often it came.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from inborn.errors import moment

__all__ = ["FeedAlarm", "FeedAlarms"]

KEPT_FOR = dt.timedelta(days=1)
"""Whoever looks once a day sees each of them."""

_MAX_KINDS = 32  # there are a dozen; more would be somebody's flood


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedAlarm:
    """FeedAlarms of one kind: the newest one's text, and since when how many came."""

    kind: str
    message: str
    first_at: dt.datetime
    last_at: dt.datetime
    count: int

    def __str__(self) -> str:
        often = f" ({self.count} times since {moment(self.first_at)})" if self.count > 1 else ""
        return f"{moment(self.last_at)} {self.kind}: {self.message}{often}"


class FeedAlarms:
    """Those of the last day."""

    def __init__(self) -> None:
        self._by_kind: dict[str, FeedAlarm] = {}

    def sound(self, kind: str, message: str, now: dt.datetime) -> None:
        """Something of this kind happened."""
        known = self._by_kind.pop(kind, None)
        if known is not None and abs(now - known.last_at) > KEPT_FOR:
            known = None
        self._by_kind[kind] = FeedAlarm(
            kind=kind,
            message=message,
            first_at=now if known is None else known.first_at,
            last_at=now,
            count=1 if known is None else known.count + 1,
        )
        if len(self._by_kind) > _MAX_KINDS:
            del self._by_kind[next(iter(self._by_kind))]

    def current(self, now: dt.datetime) -> list[FeedAlarm]:
        """The newest first. A clock that was set hides none."""
        return [alarm for alarm in reversed(self._by_kind.values()) if now - alarm.last_at <= KEPT_FOR]
