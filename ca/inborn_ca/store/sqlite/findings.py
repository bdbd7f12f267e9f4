"""What agents knew and a restored database did not: the table `finding`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import InternalError
from inborn_ca.model.records import Finding, FindingKind
from inborn_ca.store.sqlite.codec import Row, from_micros, micros_or_none, time_or_none, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["FindingReads", "FindingWrites"]

_COLUMNS = "kind, subject, reporter, found_at, revocation_seq, certificate, number, accepted_at, accepted_by"


class FindingReads:
    """Reads of `interface.findings`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def page(self, *, accepted: bool = False, after_id: int = 0, limit: int = 1000) -> list[Finding]:
        where = "id > ?" if accepted else "id > ? AND kind = 'certificate' AND accepted_at IS NULL"
        rows = self._handle.rows(
            f"SELECT id, {_COLUMNS} FROM finding WHERE {where} ORDER BY id LIMIT ?", (after_id, limit)
        )
        return [_finding(row) for row in rows]

    def get(self, finding_id: int) -> Finding | None:
        row = self._handle.row(f"SELECT id, {_COLUMNS} FROM finding WHERE id = ?", (finding_id,))
        return None if row is None else _finding(row)

    def find_certificate(self, subject: str) -> Finding | None:
        row = self._handle.row(
            f"SELECT id, {_COLUMNS} FROM finding WHERE kind = 'certificate' AND subject = ?", (subject,)
        )
        return None if row is None else _finding(row)

    def count_of(self, reporter: str) -> int:
        row = self._handle.row("SELECT count(*) FROM finding WHERE reporter = ?", (reporter,))
        return int(row[0]) if row is not None else 0


class FindingWrites(FindingReads):
    """Writes of `interface.findings`."""

    __slots__ = ()

    def add(self, finding: Finding) -> int:
        row = self._handle.row(
            f"INSERT INTO finding ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                str(finding.kind),
                finding.subject,
                str(finding.reporter),
                to_micros(finding.found_at),
                finding.revocation_seq,
                finding.certificate,
                finding.number,
                micros_or_none(finding.accepted_at),
                finding.accepted_by,
            ),
        )
        if row is None:
            raise InternalError("finding was not written")
        return int(row[0])

    def use_number(self, finding_id: int, number: int) -> None:
        self._handle.execute("UPDATE finding SET number = max(number, ?) WHERE id = ?", (number, finding_id))

    def accept(self, finding_id: int, by: str, at: dt.datetime) -> None:
        self._handle.execute(
            "UPDATE finding SET accepted_at = ?, accepted_by = ? WHERE id = ?", (to_micros(at), by, finding_id)
        )


def _finding(row: Row) -> Finding:
    number, kind, subject, reporter, found_at, seq, certificate, asked, accepted_at, accepted_by = row
    return Finding(
        id=number,
        kind=FindingKind(kind),
        subject=subject,
        reporter=parse_spiffe_id(reporter),
        found_at=from_micros(found_at),
        revocation_seq=seq,
        certificate=certificate,
        number=asked,
        accepted_at=time_or_none(accepted_at),
        accepted_by=accepted_by,
    )
