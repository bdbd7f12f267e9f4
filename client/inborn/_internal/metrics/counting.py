"""What is counted, and the counting that costs nothing. For every part of a process that counts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CountedEvent", "Metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedEvent:
    """One counter, as Prometheus knows it."""

    name: str
    """Ends in `_total`."""
    help: str
    labels: tuple[str, ...] = ()


class Metrics:
    """Counters that nobody looks at, so they are not kept. `PrometheusMetrics` keeps them, where a port is on."""

    def count(self, event: CountedEvent, by: float = 1, **labels: str) -> None:
        """Count an event, with a value for each of its labels."""
