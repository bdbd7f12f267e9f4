"""The CA's metrics: Prometheus's text, on loopback, to whoever asks properly."""

from __future__ import annotations

import asyncio

import pytest

from inborn._internal.address import Address
from inborn.errors import RequestError
from inborn_ca.front.metrics import MAX_SERIES, Metrics, serve_metrics


async def no_gauges() -> dict[str, tuple[str, float]]:
    return {}


def test_text_has_help_type_and_escaped_labels() -> None:
    metrics = Metrics()
    metrics.count("inborn_ca_calls_total", method='a"b\\c\nd', outcome="ok")
    metrics.count("inborn_ca_calls_total", by=2, method="x", outcome="ok")
    assert metrics.text({"inborn_ca_streams": ("Streams.", 3)}).splitlines() == [
        "# HELP inborn_ca_calls_total Calls by method and outcome (ok, or the error's type).",
        "# TYPE inborn_ca_calls_total counter",
        'inborn_ca_calls_total{method="a\\"b\\\\c\\nd",outcome="ok"} 1',
        'inborn_ca_calls_total{method="x",outcome="ok"} 2',
        "# HELP inborn_ca_streams Streams.",
        "# TYPE inborn_ca_streams gauge",
        "inborn_ca_streams 3",
    ]


def test_a_moment_is_shown_to_the_second() -> None:
    assert Metrics().text({"x_expires": ("End.", 1_795_591_392.0)}).splitlines()[-1] == "x_expires 1795591392"


def test_series_are_bounded() -> None:
    metrics = Metrics()
    for n in range(MAX_SERIES + 10):
        metrics.count("x", label=str(n))
    assert metrics.text({}).count("\n") == MAX_SERIES + 2


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
async def test_address_that_others_could_reach_is_refused(host: str) -> None:
    with pytest.raises(RequestError, match="loopback only"):
        await serve_metrics(Address(host, 0), Metrics(), no_gauges)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b""),
        (b"GET /metr", b""),
    ],
)
async def test_request_gets_its_answer_and_nonsense_none(request_: bytes, status: bytes) -> None:
    server = await serve_metrics(Address("127.0.0.1", 0), Metrics(), no_gauges)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(request_)
    writer.write_eof()
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    assert answer.split(b"\r\n")[0] == status
    writer.close()
    server.close()
