"""The revocation log, the expansions that are under way, and what was answered to the commands that wrote them."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inborn_ca.model.records import Expansion, RevocationRecord

__all__ = ["RevocationReads", "RevocationWrites"]


class RevocationReads(Protocol):
    def log(self, *, dropped: bool = False, after_seq: int = 0, limit: int | None = None) -> list[RevocationRecord]:
        """By rising seq, from above `after_seq`; with `dropped` also those that are no longer in the list.

        Without a limit: what is in force, which is what can still touch something alive.
        """
        ...

    def seq(self) -> int:
        """The length of the log; what was dropped counts. Instant."""
        ...

    def expansion(self, expansion_id: int) -> Expansion | None: ...
    def open_expansions(self) -> list[Expansion]:
        """Those that are not finished, oldest first: a few."""
        ...

    def answer(self, request_id: bytes) -> bytes | None:
        """What was answered to the command with this idempotency key. Instant."""
        ...


class RevocationWrites(RevocationReads, Protocol):
    def add(self, row: RevocationRecord) -> None:
        """Append to the log. Raises `InternalError` if `seq` is not the next one."""
        ...

    def drop_expired(self, at: dt.datetime, *, limit: int) -> list[int]:
        """Take from the list, and not from the log, what can touch nothing alive any more: at most so many, oldest
        first. Returns their seqs."""
        ...

    def add_expansion(self, expansion: Expansion) -> int:
        """Returns its id; that of the row is ignored."""
        ...

    def update_expansion(self, expansion: Expansion) -> None: ...
    def add_answer(self, request_id: bytes, answer: bytes, at: dt.datetime) -> None: ...
