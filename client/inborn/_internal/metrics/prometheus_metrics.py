"""Counters and gauges by prometheus_client, in a registry of our own: nothing of the interpreter's is added to them.
`metrics_port` serves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from inborn._internal.metrics.counting import CountedEvent, Metrics

__all__ = ["CONTENT_TYPE", "Gauges", "PrometheusMetrics"]

MAX_SERIES = 1000  # label values are method names and kinds of errors, dozens; more would be a bug that eats memory
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Gauges = Mapping[str, tuple[str, float]]
"""Name -> (help, value), as they are at one scrape."""


class PrometheusMetrics(Metrics):
    """Counts the events that were declared to it. Belongs to one event loop."""

    def __init__(self, events: Iterable[CountedEvent]) -> None:
        # Else each counter has a second series, with the moment of its first count.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters = {
            event.name: Counter(event.name, event.help, event.labels, registry=self._registry) for event in events
        }
        self._series: dict[tuple[str | None, ...], Counter] = {}
        self._gauges = _GaugesNow()
        self._registry.register(self._gauges)

    def count(self, event: CountedEvent, by: float = 1, **labels: str) -> None:
        """Count an event; a series beyond the limit is not begun. Raises `ValueError` for other labels than its own."""
        values = tuple(map(labels.get, event.labels))
        if None in values or len(values) != len(labels):
            raise ValueError(f"labels of {event.name} are {event.labels}, not {tuple(labels)}")
        series = self._series.get((event.name, *values))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                return
            counter = self._counters[event.name]
            series = self._series[event.name, *values] = counter.labels(*values) if values else counter
        series.inc(by)

    def text(self, gauges: Gauges) -> bytes:
        """All of it and these gauges, in Prometheus's text format 0.0.4."""
        self._gauges.values = gauges
        return generate_latest(self._registry)


class _GaugesNow(Collector):
    """Gauges that are read before each scrape, together: one that could not be read is left out, and not old."""

    values: Gauges = {}  # noqa: RUF012 -- replaced as a whole, never changed

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, (text, value) in self.values.items():
            yield GaugeMetricFamily(name, text, value=value)
