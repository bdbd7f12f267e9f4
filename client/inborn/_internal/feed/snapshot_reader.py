"""Snapshots of the domain feed that come in several messages, put together (no input or output).

A million revoked certificates are 40 MiB, and a message has 16 at most. The parts of one snapshot have its random ID
and count from 0, so that a front can neither leave one out nor mix two snapshots.
"""

from __future__ import annotations

from inborn._internal.feed.feed_content import DomainUpdate, SnapshotPart
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn.errors import PreconditionError

__all__ = ["FeedGap", "SnapshotReader"]


class FeedGap(PreconditionError):
    """Messages are missing between what is known and what arrived; the stream is opened again from what is known."""


class SnapshotReader:
    """Takes parts as they come. What is not finished counts for nothing."""

    def __init__(self) -> None:
        self._first: SnapshotPart | None = None
        self._next = 0
        self._log = RevocationLog(b"", 0)

    def take(self, part: SnapshotPart) -> DomainUpdate | None:
        """The whole snapshot with its last part, None before.

        Raises `FeedGap` for a part that does not follow on the one before, and what `RevocationLog.extend` raises; the
        next part must be a first one then.
        """
        first, self._first = self._first, None
        if part.number == 0:
            first, self._log = part, RevocationLog(part.log_id, part.revocation_seq)
        elif first is None or part.number != self._next or not part.is_of(first):
            raise FeedGap(f"part {part.number} of a snapshot does not follow on what came before")
        self._log.extend(part.revocations)
        if part.more:
            self._first, self._next = first, part.number + 1
            return None
        return DomainUpdate(
            snapshot=True,
            bundle=first.bundle,
            authorities=first.authorities,
            log=self._log,
            revocation_seq=first.revocation_seq,
        )
