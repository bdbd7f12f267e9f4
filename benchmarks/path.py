"""The issue path in this process: alone, with the database, and what durability costs."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.floor import floor_microseconds
from benchmarks.machine import measure
from benchmarks.report import Figure, Sample, figure_of
from benchmarks.signer import Signer, signer

__all__ = ["ALONE", "BATCH", "loads", "round_of", "run"]

ROUNDS = 3
ALONE = "issue path alone: no RPC, no database"
BATCH = "issue path with the database, batches of 100"
SMALL = "issue path with the database, batches of 10"
SINGLE = "issue path with the database, 128 single requests a group"

Load = Callable[[], tuple[Callable[[], None], int]]
"""Makes the requests, and gives back the work and how many certificates it makes."""


def loads(s: Signer) -> dict[str, Load]:
    """Name -> load."""

    def alone() -> tuple[Callable[[], None], int]:
        requests = s.batches(10, 100)
        return lambda: s.without_store(requests), 1000

    def batches(count: int, items: int) -> tuple[Callable[[], None], int]:
        requests = s.batches(count, items)
        return lambda: s.groups(requests, 1), count * items

    def single() -> tuple[Callable[[], None], int]:
        requests = s.singles(8)
        return lambda: s.groups(requests, len(s.agents)), len(requests)

    return {ALONE: alone, BATCH: lambda: batches(10, 100), SMALL: lambda: batches(50, 10), SINGLE: single}


def round_of(load: Load) -> Sample:
    """One round with its own floor. CPU time of this process."""
    work, certificates = load()
    floor = floor_microseconds()
    with measure([]) as spent:
        begun = time.process_time()
        work()
        ours = time.process_time() - begun
    return Sample(floor=floor, ours=ours / certificates * 1e6, others=spent.others, rate=certificates / spent.wall)


def run() -> list[Figure]:
    samples: dict[str, list[Sample]] = {}
    with signer(agents=128) as s:
        table = loads(s)
        for name in (BATCH, SINGLE):  # templates and requesters are known from here on
            table[name]()[0]()
        for _ in range(ROUNDS):
            for name, load in table.items():
                samples.setdefault(name, []).append(round_of(load))
        durability = [_durable_over_not(s) for _ in range(ROUNDS * 2 + 1)]
    figures = [figure_of(name, samples[name], 1.4 if name == ALONE else None) for name in table]
    value, others = sorted(durability)[len(durability) // 2]
    figures.append(
        Figure(
            name="throughput durable / not durable, batches of 100",
            value=value,
            unit="x",
            bar=0.95,
            more_is_better=True,
            others=others,
            detail=f"median of {len(durability)} pairs",
        )
    )
    return figures


def _durable_over_not(s: Signer) -> tuple[float, float]:
    """Wall time without a sync over wall time with one. Only this connection can be told not to sync."""
    connection = s.state.store.writer.raw  # type: ignore[attr-defined]
    rates: dict[str, float] = {}
    others = 0.0
    for mode in ("FULL", "OFF"):
        requests = s.batches(8, 100)
        connection.execute(f"PRAGMA synchronous = {mode}")
        try:
            with measure([]) as spent:
                s.groups(requests, 1)
        finally:
            connection.execute("PRAGMA synchronous = FULL")
        rates[mode] = 1 / spent.wall
        others = max(others, spent.others)
    return rates["FULL"] / rates["OFF"], others
