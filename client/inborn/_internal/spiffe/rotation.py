"""When to renew: a machine without input or output.

Renewal is due at half of a certificate's life, counted from the moment at which it was issued and not from the
backdated notBefore, spread by ten per cent of that half either way so that what started together does not renew
together. After a failure it is tried again with growing pauses, faster as the end comes near, until the pauses cannot
get shorter; and it goes on after the end.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

__all__ = ["RETRY_FIRST", "RETRY_LONGEST", "Schedule", "renewal_time", "retry_delay"]

RETRY_FIRST = dt.timedelta(seconds=0.25)  # a CA that restarts is back within a second
RETRY_LONGEST = dt.timedelta(seconds=30)  # long enough not to hammer, short against the shortest useful life
_SPREAD = 0.10

_SET_BACK = dt.timedelta(seconds=60)  # twice what two clocks may differ by: less is corrected without anybody's notice


def renewal_time(issued_at: dt.datetime, not_after: dt.datetime, *, spread: float) -> dt.datetime:
    """When a certificate issued then and ending then is renewed. `spread` is a random number from 0 to 1."""
    fraction = 0.5 + (2 * min(max(spread, 0.0), 1.0) - 1) * _SPREAD * 0.5
    return issued_at + (not_after - issued_at) * fraction


def retry_delay(failures: int, *, remaining: dt.timedelta, spread: float) -> dt.timedelta:
    """How long to wait after so many failures in a row, with `remaining` of the life left.

    Doubles from a quarter of a second to half a minute, is never more than an eighth of what remains (but at least
    the first pause), and takes a random part between one half and the whole of it.
    """
    base = min(RETRY_LONGEST, RETRY_FIRST * float(2 ** min(max(failures - 1, 0), 16)))
    if remaining > dt.timedelta(0):
        base = min(base, remaining / 8)
    return max(RETRY_FIRST, base) * (0.5 + min(max(spread, 0.0), 1.0) / 2)


@dataclass(slots=True)
class Schedule:
    """One certificate's plan: `next_attempt` says when to ask; after a success, `after_issue` makes the next plan."""

    issued_at: dt.datetime
    not_after: dt.datetime
    next_attempt: dt.datetime
    failures: int = 0

    @classmethod
    def after_issue(cls, issued_at: dt.datetime, not_after: dt.datetime, *, spread: float) -> Schedule:
        return cls(issued_at, not_after, renewal_time(issued_at, not_after, spread=spread))

    def is_due(self, now: dt.datetime) -> bool:
        """Also where the clock was set back to before the plan was made: what was planned then says nothing now."""
        return now >= self.next_attempt or now < self.issued_at - _SET_BACK

    def failed(self, now: dt.datetime, *, spread: float) -> None:
        """An attempt came to nothing: plan the next one."""
        self.failures += 1
        self.issued_at = min(self.issued_at, now)  # else it would be due again at once
        self.next_attempt = now + retry_delay(self.failures, remaining=self.not_after - now, spread=spread)

    def hurry(self, now: dt.datetime) -> None:
        """Ask at once (an admin revoked with reissue, an entry changed)."""
        self.failures = 0
        self.issued_at = min(self.issued_at, now)
        self.next_attempt = now
