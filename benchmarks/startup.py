"""How long the command takes to say something."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.report import Figure, percentile
from benchmarks.rig import running

__all__ = ["run"]

TIMES = 15


def _median(command: list[str]) -> float:
    seconds = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    return percentile(seconds, 0.5) * 1000


def run() -> list[Figure]:
    command = [sys.executable, "-m", "inborn.cli"]
    figures = [Figure(name="inborn --help", value=_median([*command, "--help"]), unit="ms", bar=150)]
    with running() as rig:
        read = [*command, "entry", "list", "--data-dir", str(rig.directory)]
        figures.append(Figure(name="inborn entry list, a running CA", value=_median(read), unit="ms", bar=400))
    return figures
