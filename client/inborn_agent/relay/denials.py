"""Callers that were turned away: told in the log, without letting them flood it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Denial", "DenialLog"]

# Denials of one kind and uid are one line in so much time, with their number.
WINDOW = timedelta(minutes=1)

# Kinds are a dozen; uids can be as many as somebody has subordinate ones.
MAX_WINDOWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One caller that was turned away. `kind` is the name of the error's class; `pid` is None if it was not pinned."""

    kind: str
    message: str
    uid: int
    pid: int | None = None


class DenialLog:
    """Says which denials to log. It counts all of them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._windows: dict[tuple[int, str], tuple[datetime, int]] = {}

    def record(self, denial: Denial, now: datetime) -> str | None:
        """Count a denial; give the line to log, None if one like it was logged less than a minute ago."""
        self.counts[denial.kind] = self.counts.get(denial.kind, 0) + 1
        key = denial.uid, denial.kind
        since, silent = self._windows.get(key, (now - WINDOW, 0))
        if now - since < WINDOW:
            self._windows[key] = since, silent + 1
            return None
        if len(self._windows) >= MAX_WINDOWS:
            self._windows.clear()
        self._windows[key] = now, 0
        more = f" ({silent} more like it since {since:%H:%M:%SZ})" if silent else ""
        return f"caller denied: uid={denial.uid} pid={denial.pid} kind={denial.kind} reason={denial.message}{more}"
