"""The CAs of the database, and the roots and issuing authorities that they have.

There are a handful: what gives all of them is cheap.
"""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inborn_ca.model.records import AuthorityRecord

__all__ = ["AuthorityReads", "AuthorityWrites"]


class AuthorityReads(Protocol):
    def all(self) -> list[AuthorityRecord]:
        """In the order in which they were made, those of every CA."""
        ...

    def serial_states(self) -> dict[str, str]:
        """ca_id -> the state of its serials: at or above every serial of that CA that is in the ledger.

        So the highest serial recorded for another CA is known without a scan; and which CAs there are.
        """
        ...


class AuthorityWrites(AuthorityReads, Protocol):
    def add_ca(self, ca_id: str, at: dt.datetime) -> None:
        """One CA more, which has issued nothing. Raises `ConstraintBroken` if it is there."""
        ...

    def set_serial_state(self, ca_id: str, state: str) -> None:
        """In the transaction that records what was numbered. Raises `NotFoundError`."""
        ...

    def add(self, authority: AuthorityRecord) -> None: ...
    def update(self, authority: AuthorityRecord) -> None:
        """Raises `NotFoundError`."""
        ...

    def remove(self, key_id: bytes) -> None:
        """Forget it; what it issued keeps its name in the ledger. Raises `NotFoundError`."""
        ...
