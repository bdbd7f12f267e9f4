"""The last revocations in the order in which they came, for libraries that follow. Pure.

Each follower remembers a position and nothing is kept for it: one that reads slowly is given the difference when it
comes back, or a snapshot if it lies too far behind, and holds nobody up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from inborn._internal.revocation.revocation_set import Revocation

__all__ = ["Difference", "RecentRevocations"]

# Changes that are remembered. Whoever is further behind takes a snapshot, which is then hardly larger.
_MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What came after a position."""

    revocations: tuple[Revocation, ...]
    dropped: tuple[int, ...]


class RecentRevocations:
    """`position` rises with each change."""

    def __init__(self, *, limit: int = _MAX_REMEMBERED) -> None:
        self.position = 0
        self._changes: deque[Difference] = deque(maxlen=limit)

    def reset(self) -> None:
        """Everything is new: whoever follows needs a snapshot."""
        self.position += 1
        self._changes.clear()

    def append(self, revocations: tuple[Revocation, ...], dropped: tuple[int, ...]) -> None:
        """These were added and dropped."""
        if revocations or dropped:
            self.position += 1
            self._changes.append(Difference(revocations=revocations, dropped=dropped))

    def since(self, position: int) -> Difference | None:
        """What came after `position`; None: that is too long ago (or never was), take a snapshot."""
        behind = self.position - position
        if behind < 0 or behind > len(self._changes):
            return None
        changes = [self._changes[i] for i in range(len(self._changes) - behind, len(self._changes))]
        return Difference(
            revocations=tuple(revocation for change in changes for revocation in change.revocations),
            dropped=tuple(seq for change in changes for seq in change.dropped),
        )
