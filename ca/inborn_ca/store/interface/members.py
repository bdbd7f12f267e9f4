"""Who is enrolled, and the keys that sign requests for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.records import Member, RequesterKey

__all__ = ["MemberReads", "MemberWrites"]


class MemberReads(Protocol):
    """By ID and by key everything is instant."""

    def all(self) -> list[Member]:
        """By ID. One for each machine: 10 ms for ten thousand, so not in a loop, and not for a workload's request."""
        ...

    def get(self, spiffe_id: SpiffeId) -> Member | None: ...
    def find_agent(self, name: str) -> Member | None:
        """The agent of that name, if there is one; instant."""
        ...

    def requester(self, key_hash: bytes) -> RequesterKey | None: ...


class MemberWrites(MemberReads, Protocol):
    def put(self, member: Member) -> None:
        """Add it, or replace what is known of the same ID."""
        ...

    def put_requester(self, requester: RequesterKey) -> None:
        """Add it, or replace what is known of the same key.

        Raises `ConstraintBroken` if a number were to fall or a successor to change.
        """
        ...

    def use_numbers(self, used: Iterable[tuple[bytes, int, int]]) -> None:
        """Write (key hash, last number, used numbers) of requesters that are there; nothing else of them changes."""
        ...
