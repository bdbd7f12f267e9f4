"""How long the command takes to say something."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from benchmarks.machine import measure
from benchmarks.report import Figure, percentile
from benchmarks.rig import running

__all__ = ["run"]

TIMES = 15


def _median(name: str, command: list[str], bar: float) -> Figure:
    seconds = []
    with measure([]) as spent:
        begun = _children()
        for _ in range(TIMES):
            at = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - at)
        own = _children() - begun
    return Figure(
        name=name,
        value=percentile(seconds, 0.5) * 1000,
        unit="ms",
        bar=bar,
        others=max(0.0, spent.others - own / spent.wall),
        detail=f"median of {TIMES}; {own / TIMES * 1000:.0f} ms of CPU",
    )


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run() -> list[Figure]:
    command = [sys.executable, "-m", "inborn_cli"]
    figures = [_median("inborn --help", [*command, "--help"], 80)]
    with running() as rig:
        read = [*command, "entry", "list", "--data-dir", str(rig.directory)]
        figures.append(_median("inborn entry list, a running CA", read, 250))
    return figures
