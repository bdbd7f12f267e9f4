"""Numbers for Prometheus, in its text format, over HTTP on loopback. The standard library is enough."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from inborn._internal.host.log import get_logger
from inborn.errors import RequestError, UnavailableError

__all__ = ["Metrics", "MetricsServer", "parse_address"]

_log = get_logger("agent.metrics")

_MAX_REQUEST = 8192  # octets of a request's head; Prometheus sends 300
_REQUEST_TIMEOUT = 5  # seconds to send it in
_MAX_SERIES = 1000  # combinations of labels; ours are kinds of errors, of which there are dozens

_HELP = {
    "inborn_agent_svids_issued_total": "SVIDs fetched from the CA",
    "inborn_agent_svids_refused_total": "SVIDs that the CA refused, by the error's kind",
    "inborn_agent_issue_requests_failed_total": "requests to the CA that came to nothing, by the error's kind",
    "inborn_agent_calls_denied_total": "callers that were given nothing, by the reason",
    "inborn_agent_alarms_total": "what was shown to the agent that no honest CA shows, by kind",
    "inborn_agent_feed_errors_total": "messages and streams of the CA that were given up, by the error's kind",
    "inborn_agent_renewals_total": "renewals of the agent's own certificate, by result",
}

Gauge = Callable[[], float]


@dataclass(slots=True)
class Metrics:
    """Counters that are counted up, and gauges that are asked when somebody looks."""

    _counters: dict[tuple[str, tuple[tuple[str, str], ...]], int] = field(default_factory=dict)
    _gauges: dict[str, tuple[str, Gauge]] = field(default_factory=dict)

    def count(self, name: str, **labels: str) -> None:
        """Count an event."""
        key = (name, tuple(sorted(labels.items())))
        if key in self._counters or len(self._counters) < _MAX_SERIES:
            self._counters[key] = self._counters.get(key, 0) + 1

    def gauge(self, name: str, text: str, read: Gauge) -> None:
        """Name a value and where it is read."""
        self._gauges[name] = (text, read)

    def render(self) -> str:
        """All of it in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        last = ""
        for (name, labels), value in sorted(self._counters.items()):
            if name != last:
                lines += [f"# HELP {name} {_HELP.get(name, name)}", f"# TYPE {name} counter"]
                last = name
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
        for name, (text, read) in sorted(self._gauges.items()):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {read():.15g}"]
        return "\n".join(lines) + "\n"


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9090` or `[::1]:9090`. Raises `RequestError` for what is not on loopback: there is no login here."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
        number = int(port)
    except ValueError as error:
        raise RequestError(f"metrics address must be IP:PORT: {text!a}", hint="for example 127.0.0.1:9464") from error
    if not colon or not 0 <= number <= 65535:
        raise RequestError(f"metrics address must be IP:PORT: {text!a}", hint="for example 127.0.0.1:9464")
    if not address.is_loopback:
        raise RequestError(f"metrics are served on loopback only, not on {address}", hint="for example 127.0.0.1:9464")
    return str(address), number


class MetricsServer:
    """Answers GET /metrics, and nothing else; one request a connection."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises `UnavailableError`."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_REQUEST)
        except OSError as error:
            raise UnavailableError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error
        bound: int = self._server.sockets[0].getsockname()[1]
        _log.event("metrics.listening", address=f"{host}:{bound}")
        return bound

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                words = head.split(b"\r\n", 1)[0].split(b" ")
                if len(words) == 3 and words[0] == b"GET" and words[1].split(b"?")[0] == b"/metrics":
                    status, body = "200 OK", self._metrics.render().encode()
                else:
                    status, body = "404 Not Found", b"GET /metrics\n"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks like this gets no answer
        finally:
            writer.close()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
