"""What agents knew and a restored database did not: rows of the table `finding`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import InternalError
from inborn_ca.model.records import Finding, FindingKind
from inborn_ca.store.sqlite import codec
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["FINDING_TABLE", "FindingQueries", "FindingWrites"]

FINDING_TABLE = """
CREATE TABLE finding (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reporter TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    revocation_seq INTEGER NOT NULL,
    certificate BLOB NOT NULL,
    number INTEGER NOT NULL,
    accepted_at INTEGER,
    accepted_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX finding_certificate ON finding (subject) WHERE kind = 'certificate';
CREATE INDEX finding_reporter ON finding (reporter);
"""

_COLUMNS = "kind, subject, reporter, found_at, revocation_seq, certificate, number, accepted_at, accepted_by"


class FindingQueries:
    """Part of `ports.Reader`."""

    _handle: Handle

    def findings(self, *, accepted: bool = False, after_id: int = 0, limit: int = 1000) -> list[Finding]:
        """By rising number; those that are in force or accepted as well, if asked for."""
        where = "id > ?" if accepted else "id > ? AND kind = 'certificate' AND accepted_at IS NULL"
        rows = self._handle.rows(
            f"SELECT id, {_COLUMNS} FROM finding WHERE {where} ORDER BY id LIMIT ?", (after_id, limit)
        )
        return [_finding(row) for row in rows]

    def finding(self, finding_id: int) -> Finding | None:
        row = self._handle.row(f"SELECT id, {_COLUMNS} FROM finding WHERE id = ?", (finding_id,))
        return None if row is None else _finding(row)

    def find_certificate_finding(self, subject: str) -> Finding | None:
        row = self._handle.row(
            f"SELECT id, {_COLUMNS} FROM finding WHERE kind = 'certificate' AND subject = ?", (subject,)
        )
        return None if row is None else _finding(row)

    def count_findings_of(self, reporter: str) -> int:
        row = self._handle.row("SELECT count(*) FROM finding WHERE reporter = ?", (reporter,))
        return int(row[0]) if row is not None else 0


class FindingWrites:
    """Part of `ports.Transaction`."""

    _handle: Handle

    def add_finding(self, finding: Finding) -> int:
        """Returns its number; `finding.id` is not looked at."""
        row = self._handle.row(
            f"INSERT INTO finding ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                str(finding.kind),
                finding.subject,
                str(finding.reporter),
                codec.to_micros(finding.found_at),
                finding.revocation_seq,
                finding.certificate,
                finding.number,
                codec.micros_or_none(finding.accepted_at),
                finding.accepted_by,
            ),
        )
        if row is None:
            raise InternalError("finding was not written")
        return int(row[0])

    def use_finding_number(self, finding_id: int, number: int) -> None:
        """The highest number of a request that came with this certificate."""
        self._handle.execute("UPDATE finding SET number = max(number, ?) WHERE id = ?", (number, finding_id))

    def accept_finding(self, finding_id: int, by: str, at: dt.datetime) -> None:
        self._handle.execute(
            "UPDATE finding SET accepted_at = ?, accepted_by = ? WHERE id = ?", (codec.to_micros(at), by, finding_id)
        )


def _finding(row: codec.Row) -> Finding:
    number, kind, subject, reporter, found_at, seq, certificate, asked, accepted_at, accepted_by = row
    return Finding(
        id=number,
        kind=FindingKind(kind),
        subject=subject,
        reporter=parse_spiffe_id(reporter),
        found_at=codec.from_micros(found_at),
        revocation_seq=seq,
        certificate=certificate,
        number=asked,
        accepted_at=None if accepted_at is None else codec.from_micros(accepted_at),
        accepted_by=accepted_by,
    )
