"""Registration entries and posture policies: who may have what, and under which demands.

The signer holds all of them in memory; it reads them once, and each again only when an admin asks.
"""

from __future__ import annotations

from typing import Protocol

from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.registration_entry import Entry

__all__ = ["EntryReads", "EntryWrites"]


class EntryReads(Protocol):
    def all(self) -> list[Entry]:
        """In the order in which they were made. Thousands: 20 us each, so for admins and the start, not for issuing."""
        ...

    def get(self, entry_id: str) -> Entry | None: ...
    def policies(self) -> list[PosturePolicy]:
        """The trust domain's posture policies, oldest first."""
        ...


class EntryWrites(EntryReads, Protocol):
    def add(self, entry: Entry) -> None:
        """Raises `AlreadyExistsError`. Duplicates under another id are the service's to find."""
        ...

    def update(self, entry: Entry) -> None:
        """Raises `NotFoundError`."""
        ...

    def delete(self, entry_id: str) -> None:
        """Raises `NotFoundError`."""
        ...

    def add_policy(self, policy: PosturePolicy) -> None: ...
    def delete_policy(self, policy_id: str) -> None:
        """Raises `NotFoundError`."""
        ...
