"""Join tokens, and who was enrolled with which."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.records import Token

__all__ = ["TokenReads", "TokenWrites"]


class TokenReads(Protocol):
    """By id everything is instant."""

    def all(self) -> list[Token]:
        """In the order in which they were made. As many as were made within a retention: hundreds as a rule."""
        ...

    def get(self, token_id: bytes) -> Token | None: ...
    def uses(self, token_id: bytes) -> dict[bytes, SpiffeId]:
        """Key hash -> who was enrolled with it."""
        ...

    def find_use(self, token_id: bytes, key_hash: bytes) -> SpiffeId | None:
        """Who was enrolled with this token and key, if anybody was."""
        ...

    def count_uses(self, token_id: bytes) -> int: ...
    def use_counts(self) -> dict[bytes, int]:
        """Token id -> how many were enrolled with it, for those that were used: one scan for all of them."""
        ...


class TokenWrites(TokenReads, Protocol):
    def add(self, token: Token) -> None: ...
    def withdraw(self, token_id: bytes, at: dt.datetime) -> None:
        """The first time counts. Raises `NotFoundError`."""
        ...

    def add_use(self, token_id: bytes, key_hash: bytes, spiffe_id: SpiffeId, at: dt.datetime) -> None:
        """Raises `ConstraintBroken` beyond the token's last use, for an unknown token, and for the same key again."""
        ...
