"""The audit trail, which is append only, and the alarms that somebody has to acknowledge."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inborn_ca.model.records import Alarm, AuditRow

__all__ = ["AuditReads", "AuditWrites"]


class AuditReads(Protocol):
    def rows(self, *, after_id: int, limit: int, action: str = "", newest: bool = False) -> list[AuditRow]:
        """Rows above `after_id` by rising id: the first `limit` of them, or with `newest` the last.

        With an `action` that is rare it scans the trail: on a handle of its own.
        """
        ...

    def alarms(self, *, acknowledged: bool = False) -> list[Alarm]:
        """The open ones by rising id; with `acknowledged` also those that are not open any more.

        There is one open alarm for each kind and subject, and what is acknowledged is pruned.
        """
        ...

    def count_alarms(self) -> int:
        """How many are open."""
        ...


class AuditWrites(AuditReads, Protocol):
    def add(self, row: AuditRow) -> int: ...
    def add_denial(self, row: AuditRow) -> int:
        """Like `add`, but rows alike (actor, action, subject, detail's "kind") of one minute become one row with a
        count."""
        ...

    def raise_alarm(self, *, kind: str, subject: str, message: str, at: dt.datetime) -> int:
        """Open an alarm, or count an open one of the same kind and subject up; writes its audit row as well."""
        ...

    def acknowledge_alarm(self, alarm_id: int, by: str, at: dt.datetime) -> Alarm | None:
        """Close an open alarm and write the audit row. None: no alarm of this number is open."""
        ...
