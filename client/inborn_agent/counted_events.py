"""What an agent counts. Operators know these names: docs/how-to/monitor.md."""

from __future__ import annotations

from inborn._internal.metrics.counting import CountedEvent

__all__ = [
    "ALARM_RAISED",
    "CALL_DENIED",
    "COUNTED_EVENTS",
    "FEED_GIVEN_UP",
    "ISSUE_REQUEST_FAILED",
    "RENEWED",
    "SVID_ISSUED",
    "SVID_REFUSED",
]

SVID_ISSUED = CountedEvent(name="inborn_agent_svids_issued_total", help="SVIDs fetched from the CA")
SVID_REFUSED = CountedEvent(
    name="inborn_agent_svids_refused_total", help="SVIDs that the CA refused, by the error's kind", labels=("kind",)
)
ISSUE_REQUEST_FAILED = CountedEvent(
    name="inborn_agent_issue_requests_failed_total",
    help="requests to the CA that came to nothing, by the error's kind",
    labels=("kind",),
)
CALL_DENIED = CountedEvent(
    name="inborn_agent_calls_denied_total",
    help="callers that were given nothing, by the error's kind",
    labels=("kind",),
)
ALARM_RAISED = CountedEvent(
    name="inborn_agent_alarms_total",
    help="what was shown to the agent that no honest CA shows, by kind",
    labels=("kind",),
)
FEED_GIVEN_UP = CountedEvent(
    name="inborn_agent_feed_errors_total",
    help="messages and streams of the CA that were given up, by the error's kind",
    labels=("kind",),
)
RENEWED = CountedEvent(
    name="inborn_agent_renewals_total", help="renewals of the agent's own certificate, by result", labels=("result",)
)

COUNTED_EVENTS = (
    SVID_ISSUED,
    SVID_REFUSED,
    ISSUE_REQUEST_FAILED,
    CALL_DENIED,
    ALARM_RAISED,
    FEED_GIVEN_UP,
    RENEWED,
)
