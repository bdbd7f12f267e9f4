"""What Prometheus would see: the text of /metrics, read by prometheus_client's own parser."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scraped", "read_metrics", "scrape"]

PATIENCE = 20.0  # seconds, on a machine that is swamped


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """Each series by name and labels, and each family's type and help."""

    series: dict[tuple[str, frozenset[tuple[str, str]]], float]
    families: dict[str, tuple[str, str]]

    def value(self, name: str, **labels: str) -> float:
        return self.series[name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self.series}


def read_metrics(text: str) -> Scraped:
    families = list(text_string_to_metric_families(text))
    return Scraped(
        series={(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples},
        families={family.name: (family.type, family.documentation) for family in families},
    )


async def scrape(port: int) -> Scraped:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200"), head
    return read_metrics(body.decode())
