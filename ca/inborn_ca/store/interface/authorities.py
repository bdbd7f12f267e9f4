"""The CAs of the database, and the roots and issuing authorities that they have.

There are a handful: what gives all of them is cheap.
"""

from __future__ import annotations

from typing import Protocol

from inborn_ca.model.records import AuthorityRecord

__all__ = ["AuthorityReads", "AuthorityWrites"]


class AuthorityReads(Protocol):
    def all(self) -> list[AuthorityRecord]:
        """In the order in which they were made, those of every CA."""
        ...


class AuthorityWrites(AuthorityReads, Protocol):
    def add(self, authority: AuthorityRecord) -> None: ...
    def update(self, authority: AuthorityRecord) -> None:
        """Raises `NotFoundError`."""
        ...

    def remove(self, key_id: bytes) -> None:
        """Forget it; what it issued keeps its name in the ledger. Raises `NotFoundError`."""
        ...
