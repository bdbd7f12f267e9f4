"""What is known of the database as a whole: its name, its log, its revisions.

What counts for the whole database stands here under a key. What counts for one CA of several stands beside its
authorities.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["MetaReads", "MetaWrites"]


class MetaReads(Protocol):
    """One row by its key: instant."""

    def get(self, key: str) -> str | None: ...


class MetaWrites(MetaReads, Protocol):
    def set(self, key: str, value: str) -> None: ...
