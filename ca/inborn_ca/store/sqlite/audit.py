"""The audit trail and the alarms: the tables `audit` and `alarm`, which refuse to be rewritten."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import replace

from inborn.errors import InternalError
from inborn_ca.model.records import Alarm, AuditRow
from inborn_ca.store.sqlite.codec import Row, from_micros, json_text, time_or_none, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["AuditReads", "AuditWrites"]

_COLUMNS = "id, at, actor, action, subject, detail, origin, count"
_ALARM_COLUMNS = "id, kind, subject, message, opened_at, count, acknowledged_at, acknowledged_by"

_MINUTE = 60_000_000  # microseconds


class AuditReads:
    """Reads of `interface.audit`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def rows(self, *, after_id: int, limit: int, action: str = "", newest: bool = False) -> list[AuditRow]:
        order = "DESC" if newest else "ASC"
        rows = self._handle.rows(
            f"SELECT {_COLUMNS} FROM audit WHERE id > ? AND (? = '' OR action = ?) ORDER BY id {order} LIMIT ?",
            (after_id, action, action, limit),
        )
        return [_audit(row) for row in (reversed(rows) if newest else rows)]

    def alarms(self, *, acknowledged: bool = False) -> list[Alarm]:
        where = "" if acknowledged else "WHERE acknowledged_at IS NULL"
        return [_alarm(row) for row in self._handle.rows(f"SELECT {_ALARM_COLUMNS} FROM alarm {where} ORDER BY id")]

    def count_alarms(self) -> int:
        row = self._handle.row("SELECT count(*) FROM alarm WHERE acknowledged_at IS NULL")
        return int(row[0]) if row is not None else 0


class AuditWrites(AuditReads):
    """Writes of `interface.audit`."""

    __slots__ = ()

    def add(self, row: AuditRow) -> int:
        return self._add(row, None)

    def add_denial(self, row: AuditRow) -> int:
        """A minute is one of the clock's; what is kept beside the count is the first row's."""
        return self._add(row, _alike(row))

    def _add(self, row: AuditRow, alike: bytes | None) -> int:
        added = self._handle.row(
            "INSERT INTO audit (at, actor, action, subject, detail, origin, count, alike) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (alike) WHERE alike IS NOT NULL "
            "DO UPDATE SET count = count + excluded.count RETURNING id",
            (
                to_micros(row.at),
                row.actor,
                row.action,
                row.subject,
                json_text(dict(row.detail)),
                row.origin,
                row.count,
                alike,
            ),
        )
        if added is None:
            raise InternalError("audit row was not written")
        return int(added[0])

    def raise_alarm(self, *, kind: str, subject: str, message: str, at: dt.datetime) -> int:
        """The first message stays; rows of the audit trail are counted like denials, so that none can be flooded."""
        raised = self._handle.row(
            "INSERT INTO alarm (kind, subject, message, opened_at, count, acknowledged_by) VALUES (?, ?, ?, ?, 1, '') "
            "ON CONFLICT (kind, subject) WHERE acknowledged_at IS NULL DO UPDATE SET count = count + 1 RETURNING id",
            (kind, subject, message, to_micros(at)),
        )
        if raised is None:
            raise InternalError("alarm was not written")
        detail = {"alarm": int(raised[0]), "kind": kind, "message": message}
        self.add_denial(AuditRow(at=at, actor="ca", action="alarm.raise", subject=subject, detail=detail))
        return int(raised[0])

    def acknowledge_alarm(self, alarm_id: int, by: str, at: dt.datetime) -> Alarm | None:
        row = self._handle.row(
            "UPDATE alarm SET acknowledged_at = ?, acknowledged_by = ? WHERE id = ? AND acknowledged_at IS NULL "
            f"RETURNING {_ALARM_COLUMNS}",
            (to_micros(at), by, alarm_id),
        )
        if row is None:
            return None
        alarm = _alarm(row)
        detail = {"alarm": alarm.id, "kind": alarm.kind}
        self.add(AuditRow(at=at, actor=by, action="alarm.acknowledge", subject=alarm.subject, detail=detail))
        return replace(alarm, acknowledged_at=at, acknowledged_by=by)


def _audit(row: Row) -> AuditRow:
    id_, at, actor, action, subject, detail, origin, count = row
    return AuditRow(
        id=id_,
        at=from_micros(at),
        actor=actor,
        action=action,
        subject=subject,
        detail=json.loads(detail),
        origin=origin,
        count=count,
    )


def _alike(record: AuditRow) -> bytes:
    """What rows of one minute have in common that become one row with a count."""
    parts = (
        record.actor,
        record.action,
        record.subject,
        str(record.detail.get("kind", "")),
        to_micros(record.at) // _MINUTE,
    )
    return hashlib.sha256(json_text(parts).encode()).digest()[:16]


def _alarm(row: Row) -> Alarm:
    id_, kind, subject, message, opened_at, count, acknowledged_at, acknowledged_by = row
    return Alarm(
        id=id_,
        kind=kind,
        subject=subject,
        message=message,
        opened_at=from_micros(opened_at),
        count=count,
        acknowledged_at=time_or_none(acknowledged_at),
        acknowledged_by=acknowledged_by,
    )
