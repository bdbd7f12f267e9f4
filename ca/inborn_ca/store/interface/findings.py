"""What agents knew and a restored database did not."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inborn_ca.model.records import Finding

__all__ = ["FindingReads", "FindingWrites"]


class FindingReads(Protocol):
    """All but `page` is instant."""

    def page(self, *, accepted: bool = False, after_id: int = 0, limit: int = 1000) -> list[Finding]:
        """By rising number: certificates that wait, or all."""
        ...

    def get(self, finding_id: int) -> Finding | None: ...
    def find_certificate(self, subject: str) -> Finding | None: ...
    def count_of(self, reporter: str) -> int: ...


class FindingWrites(FindingReads, Protocol):
    def add(self, finding: Finding) -> int:
        """Returns its number; `finding.id` is not looked at."""
        ...

    def use_number(self, finding_id: int, number: int) -> None:
        """The highest number of a request that came with this certificate."""
        ...

    def accept(self, finding_id: int, by: str, at: dt.datetime) -> None: ...
