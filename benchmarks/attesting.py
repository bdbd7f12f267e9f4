"""How long it takes to say what a process is: pinned anew each time, all facts read, only digests of files kept."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from benchmarks.report import Figure, percentile
from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import WorkloadAttestors

__all__ = ["run"]

TIMES = 400

THREADS = """
import sys, threading
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("there", flush=True)
sys.stdin.read()
"""


def run() -> list[Figure]:
    return [
        _figure("attest a process", threads=1, bar=2.0),
        _figure("attest a process of 32 threads", threads=32, bar=None),
    ]


def _figure(name: str, *, threads: int, bar: float | None) -> Figure:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", THREADS, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        seconds, selectors = asyncio.run(_attest(process.pid))
    finally:
        process.communicate()
    return Figure(
        name=name,
        value=percentile(seconds, 0.5) * 1000,
        unit="ms",
        bar=bar,
        detail=f"p99 {percentile(seconds, 0.99) * 1000:.2f} ms; {selectors} selectors",
    )


async def _attest(pid: int) -> tuple[list[float], int]:
    attestor = WorkloadAttestors()
    seconds = []
    selectors = 0
    for _ in range(TIMES):
        begun = time.perf_counter()
        with pin_pid(pid) as process:
            selectors = len((await attestor.attest(process)).selectors)
        seconds.append(time.perf_counter() - begun)
    attestor.close()
    return seconds, selectors
