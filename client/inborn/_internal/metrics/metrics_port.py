"""The port that Prometheus scrapes: GET /metrics on loopback, to whoever asks. Used by the agent and by the front."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from inborn._internal.address import Address
from inborn._internal.http.exchange import HttpLimits, HttpRequest, HttpResponse
from inborn._internal.http.http_server import HttpServer
from inborn._internal.metrics.counting import CountedEvent
from inborn._internal.metrics.prometheus_metrics import CONTENT_TYPE, Gauges, PrometheusMetrics
from inborn.errors import UnavailableError

__all__ = ["MetricsPort"]

# A scraper or two, all on this machine. A scraper's head has some hundreds of bytes, and comes at once.
LIMITS = HttpLimits(connections=16, per_address=16, head=8 * 1024, head_time=5.0)


class MetricsPort:
    """The port and what it shows. `open`, and `close` at the end."""

    def __init__(self, events: Iterable[CountedEvent], limits: HttpLimits = LIMITS) -> None:
        self.metrics = PrometheusMetrics(events)
        """For those who count."""
        self._server = HttpServer(self._answer, limits)
        self._read_gauges: Callable[[], Awaitable[Gauges]] | None = None

    async def open(self, address: Address, read_gauges: Callable[[], Awaitable[Gauges]]) -> Address:
        """Listen, and return where; `read_gauges` is asked at each scrape. Not checked: that the address is loopback,
        which `parse_metrics_address` does. Raises `UnavailableError`."""
        self._read_gauges = read_gauges
        try:
            return Address(address.host, await self._server.open_tcp(address.host, address.port))
        except OSError as e:
            raise UnavailableError(f"cannot listen on {address} for metrics: {e.strerror}") from e

    async def close(self) -> None:
        await self._server.close()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.path != "/metrics":
            return HttpResponse(code=404, body=b"see /metrics\n", headers=(("Content-Type", "text/plain"),))
        gauges = await self._read_gauges() if self._read_gauges is not None else {}
        return HttpResponse(code=200, body=self.metrics.text(gauges), headers=(("Content-Type", CONTENT_TYPE),))
