"""What the front counts. Operators know these names: docs/how-to/monitor.md."""

from __future__ import annotations

from inborn._internal.metrics.counting import CountedEvent

__all__ = ["CALL_FINISHED", "CALL_SECONDS", "CERTIFICATE_ASKED_FOR", "COUNTED_EVENTS"]

CALL_FINISHED = CountedEvent(
    name="inborn_ca_calls_total",
    help="Calls by method and outcome (ok, or the error's type).",
    labels=("method", "outcome"),
)
CALL_SECONDS = CountedEvent(
    name="inborn_ca_call_seconds_total", help="Time spent in calls by method.", labels=("method",)
)
CERTIFICATE_ASKED_FOR = CountedEvent(
    name="inborn_ca_certificates_total",
    help="Certificates asked for through agents, by outcome.",
    labels=("outcome",),
)

COUNTED_EVENTS = (CALL_FINISHED, CALL_SECONDS, CERTIFICATE_ASKED_FOR)
