"""What the machine spends: CPU of named processes, CPU of everybody else, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Spent", "cpu_seconds", "measure", "pss_mib", "tree"]

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Spent:
    """Filled when a measured block ends. `others` is in cores: what everybody but us and the load used."""

    wall: float = 0.0
    ours: float = 0.0
    others: float = 0.0


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads, to the nanosecond where the kernel keeps it."""
    total = 0.0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0]) / 1e9
            except (OSError, IndexError):
                continue
    return total


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size, MiB: memory that is shared counts once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


@contextmanager
def measure(pids: list[int]) -> Iterator[Spent]:
    """Measure a block: wall time, CPU of `pids`, and how many cores everybody else kept busy."""
    spent = Spent()
    load_before, busy_before = time.process_time(), _busy()
    ours_before, begun = cpu_seconds(pids), time.perf_counter()
    yield spent
    spent.wall = time.perf_counter() - begun
    spent.ours = cpu_seconds(pids) - ours_before
    load = time.process_time() - load_before
    spent.others = max(0.0, (_busy() - busy_before - spent.ours - load) / spent.wall)


def _busy() -> float:
    """Seconds of CPU that the whole machine has spent on anything."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / _TICK
