"""Counters of the front, and Prometheus's text of them over HTTP on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from inborn._internal.address import Address
from inborn.errors import RequestError

__all__ = ["Metrics", "serve_metrics"]

MAX_REQUEST = 8 * 1024  # octets of a request's head: a scraper's has some hundreds
MAX_CONNECTIONS = 16  # a scraper or two
TIMEOUT = 5.0  # seconds for a request's head to arrive
MAX_SERIES = 1000  # label values are method names and error types; more would be a bug that eats memory

Gauges = Callable[[], Awaitable[Mapping[str, tuple[str, float]]]]
"""Name -> (help, value), asked for at each scrape."""

_HELP = {
    "inborn_ca_calls_total": "Calls by method and outcome (ok, or the error's type).",
    "inborn_ca_call_seconds_total": "Time spent in calls by method.",
    "inborn_ca_certificates_total": "Certificates asked for through agents, by outcome.",
}


class Metrics:
    """Counters by name and labels."""

    def __init__(self) -> None:
        self._counters: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._seconds: dict[str, float] = {}

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        if key in self._counters or len(self._counters) < MAX_SERIES:
            self._counters[key] += by

    def call_finished(self, method: str, seconds: float, outcome: str) -> None:
        self.count("inborn_ca_calls_total", method=method, outcome=outcome)
        self._seconds[method] = self._seconds.get(method, 0.0) + seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Prometheus's text format 0.0.4."""
        lines: list[str] = []
        named: dict[str, list[str]] = {}
        for (name, labels), value in sorted(self._counters.items()):
            named.setdefault(name, []).append(f"{name}{_labels(labels)} {value}")
        for method, seconds in sorted(self._seconds.items()):
            name = "inborn_ca_call_seconds_total"
            named.setdefault(name, []).append(f"{name}{_labels([('method', method)])} {seconds:.6f}")
        for name, series in named.items():
            lines += [f"# HELP {name} {_HELP.get(name, name)}", f"# TYPE {name} counter", *series]
        for name, (help_text, gauge) in gauges.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {gauge:.15g}"]
        return "\n".join(lines) + "\n"


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


async def serve_metrics(address: Address, metrics: Metrics, gauges: Gauges) -> asyncio.Server:
    """Answer GET /metrics. Raises `RequestError` for an address that others could reach: there is no access control."""
    if address.host != "localhost" and not _is_loopback(address.host):
        raise RequestError(f"metrics are served on loopback only, not on {address}")
    open_connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            if open_connections > MAX_CONNECTIONS:
                return
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                text = metrics.text(await gauges())
                writer.write(_response(head, text))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that does not speak HTTP gets nothing
        finally:
            open_connections -= 1
            writer.close()

    return await asyncio.start_server(answer, address.host, address.port, limit=MAX_REQUEST)


def _response(head: bytes, text: str) -> bytes:
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
        return _http(b"405 Method Not Allowed", b"")
    if words[1].split(b"?")[0] != b"/metrics":
        return _http(b"404 Not Found", b"see /metrics\n")
    return _http(b"200 OK", text.encode() if words[0] == b"GET" else b"")


def _http(status: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nConnection: close\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
