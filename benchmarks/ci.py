"""The figures that CI keeps: `python -m benchmarks ci`, a few seconds.

Two ratios of CPU time in this process, each the best of some rounds with its own floor: other programs on the same
cores only make a round worse, never better, so the best of several is steady where a median is not.
"""

from __future__ import annotations

import time

from benchmarks.path import ALONE, BATCH, loads, round_of
from benchmarks.report import Figure
from benchmarks.signer import signer

__all__ = ["run"]

BARS = {ALONE: 1.4, BATCH: 1.6}
"""What the best round is, on a quiet machine, or less."""

NOISE = 0.15
"""By how much the best round of a run was above the best of all runs, at most: see docs/explanation/performance.md."""

ROUNDS = 12
SECONDS = 20.0  # no further round is begun after that


def run() -> list[Figure]:
    best: dict[str, float] = {}
    rounds = 0
    begun = time.monotonic()
    with signer() as s:
        table = {name: load for name, load in loads(s).items() if name in BARS}
        table[BATCH]()[0]()
        while rounds < ROUNDS and time.monotonic() - begun < SECONDS:
            rounds += 1
            for name, load in table.items():
                best[name] = min(best.get(name, float("inf")), round_of(load).ratio)
    return [
        Figure(
            name=name,
            value=best[name],
            unit="x floor",
            bar=round(bar * (1 + NOISE), 2),
            detail=f"best of {rounds} rounds; the bar is {bar} and {NOISE:.0%} of noise",
        )
        for name, bar in BARS.items()
    ]
