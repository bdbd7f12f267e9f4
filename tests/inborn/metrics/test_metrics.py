"""Numbers for Prometheus: what is counted, how it is shown, and what it costs where nobody looks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inborn._internal.address import Address
from inborn._internal.metrics.counting import CountedEvent, Metrics
from inborn._internal.metrics.metrics_address import parse_metrics_address
from inborn._internal.metrics.metrics_port import LIMITS, MetricsPort
from inborn._internal.metrics.prometheus_metrics import MAX_SERIES, PrometheusMetrics
from inborn.errors import RequestError, UnavailableError
from inborn_agent.counted_events import COUNTED_EVENTS as OF_THE_AGENT
from inborn_ca.front.counted_events import COUNTED_EVENTS as OF_THE_FRONT
from tests.rigs.scraping import read_metrics, scrape

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 20.0  # seconds, on a machine that is swamped
CALL = CountedEvent(name="test_calls_total", help="Calls by method and outcome.", labels=("method", "outcome"))
SIMPLE = CountedEvent(name="test_things_total", help="Things.")


def test_text_has_help_type_and_escaped_labels() -> None:
    metrics = PrometheusMetrics([CALL, SIMPLE])
    metrics.count(CALL, method='a"b\\c\nd', outcome="ok")
    metrics.count(CALL, 2, method="x", outcome="ok")
    metrics.count(SIMPLE)
    assert metrics.text({"test_streams": ("Streams.", 3)}).decode().splitlines() == [
        "# HELP test_calls_total Calls by method and outcome.",
        "# TYPE test_calls_total counter",
        'test_calls_total{method="a\\"b\\\\c\\nd",outcome="ok"} 1.0',
        'test_calls_total{method="x",outcome="ok"} 2.0',
        "# HELP test_things_total Things.",
        "# TYPE test_things_total counter",
        "test_things_total 1.0",
        "# HELP test_streams Streams.",
        "# TYPE test_streams gauge",
        "test_streams 3.0",
    ]


def test_labels_go_by_their_names_and_not_by_their_order() -> None:
    metrics = PrometheusMetrics([CALL])
    metrics.count(CALL, method="a", outcome="b")
    metrics.count(CALL, outcome="a", method="b")
    scraped = read_metrics(metrics.text({}).decode())
    assert scraped.value("test_calls_total", method="a", outcome="b") == 1
    assert scraped.value("test_calls_total", method="b", outcome="a") == 1


def test_a_moment_is_shown_to_the_second() -> None:
    text = PrometheusMetrics([]).text({"x_expires": ("End.", 1_795_591_392.0)}).decode()
    assert read_metrics(text).value("x_expires") == 1_795_591_392


def test_gauge_that_cannot_be_read_any_more_is_left_out_and_not_shown_as_it_was() -> None:
    metrics = PrometheusMetrics([SIMPLE])
    assert "test_alarms" in metrics.text({"test_alarms": ("Alarms.", 1)}).decode()
    assert "test_alarms" not in metrics.text({}).decode()


def test_series_are_bounded_and_those_that_are_there_go_on() -> None:
    metrics = PrometheusMetrics([CALL, SIMPLE])
    metrics.count(SIMPLE)
    for n in range(MAX_SERIES + 10):
        metrics.count(CALL, method=str(n), outcome="ok")
    metrics.count(CALL, method="0", outcome="ok")
    metrics.count(SIMPLE)
    scraped = read_metrics(metrics.text({}).decode())
    assert len(scraped.series) == MAX_SERIES
    assert scraped.value("test_calls_total", method="0", outcome="ok") == 2
    assert scraped.value("test_things_total") == 2


@pytest.mark.parametrize("labels", [{}, {"method": "x"}, {"method": "x", "result": "ok"}])
def test_labels_that_were_not_declared_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        PrometheusMetrics([CALL]).count(CALL, **labels)


def test_names_and_labels_are_those_that_operators_know() -> None:
    assert {event.name: event.labels for event in (*OF_THE_AGENT, *OF_THE_FRONT)} == {
        "inborn_agent_alarms_total": ("kind",),
        "inborn_agent_calls_denied_total": ("kind",),
        "inborn_agent_feed_errors_total": ("kind",),
        "inborn_agent_issue_requests_failed_total": ("kind",),
        "inborn_agent_renewals_total": ("result",),
        "inborn_agent_svids_issued_total": (),
        "inborn_agent_svids_refused_total": ("kind",),
        "inborn_ca_call_seconds_total": ("method",),
        "inborn_ca_calls_total": ("method", "outcome"),
        "inborn_ca_certificates_total": ("outcome",),
    }


@pytest.mark.parametrize("events", [OF_THE_AGENT, OF_THE_FRONT])
def test_each_declared_event_is_counted_under_its_name(events: tuple[CountedEvent, ...]) -> None:
    metrics = PrometheusMetrics(events)
    for event in events:
        metrics.count(event, **dict.fromkeys(event.labels, "x"))
    assert read_metrics(metrics.text({}).decode()).names() == {event.name for event in events}


@pytest.mark.parametrize(
    "text",
    ["", "9464", "localhost:1", "0.0.0.0:1", "10.0.0.1:1", "192.0.2.1:1", "[::]:1", "127.0.0.1:70000", "example.org:1"],
)
def test_address_that_others_could_reach_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_metrics_address(text)
    assert "127.0.0.1:9464" in caught.value.hint


def test_address_on_loopback_is_taken() -> None:
    assert parse_metrics_address("127.0.0.1:9464") == Address("127.0.0.1", 9464)
    assert parse_metrics_address("[::1]:0") == Address("::1", 0)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[MetricsPort, int]]:
    async def read_gauges() -> Mapping[str, tuple[str, float]]:
        return {"test_streams": ("Streams.", 3)}

    port = MetricsPort([CALL, SIMPLE])
    address = await port.open(Address("127.0.0.1", 0), read_gauges)
    try:
        yield port, address.port
    finally:
        await port.close()


async def test_what_was_counted_is_scraped() -> None:
    async with serving() as (port, number):
        port.metrics.count(CALL, method='a"b\n', outcome="ok")
        scraped = await scrape(number)
        assert scraped.value("test_calls_total", method='a"b\n', outcome="ok") == 1
        assert scraped.value("test_streams") == 3
        assert scraped.families["test_streams"] == ("gauge", "Streams.")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics/x HTTP/1.0\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\nGET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\n", b""),
        (b"GET /metrics HTTP/1.0\r\nX: " + b"x" * LIMITS.head, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (b"GET /metr", b""),
    ],
)
async def test_request_gets_its_answer_and_nonsense_none(request_: bytes, status: bytes) -> None:
    async with serving() as (_, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(request_)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).split(b"\r\n")[0] == status
        writer.close()
        assert (await scrape(number)).value("test_streams") == 3


async def test_port_that_is_taken_is_named() -> None:
    async def read_gauges() -> Mapping[str, tuple[str, float]]:
        return {}

    async with serving() as (_, number):
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{number} for metrics"):
            await MetricsPort([]).open(Address("127.0.0.1", number), read_gauges)


OFF = """
import sys
from pathlib import Path
{made}
heavy = {{"prometheus_client", "h11", "inborn._internal.http.http_server", "http.server"}} & set(sys.modules)
assert not heavy, heavy
"""
AGENT = """
from inborn._internal.settings.agent_options import AgentOptions
from inborn_agent.app import Agent
from inborn_agent.settings import AgentSettings
agent = Agent(AgentSettings.resolve(AgentOptions(data_dir=Path("/nonexistent"), metrics_address={metrics!r})))
"""
FRONT = """
from inborn._internal.address import Address
from inborn_ca.front.server import Front
from inborn_ca.settings import FrontSettings
metrics = Address("127.0.0.1", 1) if {metrics!r} else None
front = Front(None, FrontSettings(bootstrap=Address("::1", 1), api=Address("::1", 2), metrics=metrics))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto", "ca"))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("made", [AGENT, FRONT], ids=["agent", "front"])
def test_where_nobody_looks_nothing_is_loaded(made: str) -> None:
    without = python(OFF.format(made=made.format(metrics="")))
    assert without.returncode == 0, without.stderr
    with_metrics = python(OFF.format(made=made.format(metrics="127.0.0.1:1")))
    assert "prometheus_client" in with_metrics.stderr.splitlines()[-1]


def test_where_nobody_looks_nothing_is_kept() -> None:
    metrics = Metrics()
    before = sys.getallocatedblocks()
    for n in range(10_000):
        metrics.count(CALL, method=str(n), outcome="ok")
    assert sys.getallocatedblocks() - before < 1000
