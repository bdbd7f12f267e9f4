"""A revocation reaches a hundred agents at once, each over a connection of its own: real processes."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.fanout import come_back, push, subscribers
from benchmarks.rig import running

MACHINE_IS_BUSY = 10  # seconds that one of many processes may not have been given a core


@pytest.mark.slow
def test_revocation_reaches_a_hundred_subscribers_at_once_also_when_they_have_come_back() -> None:
    with running() as rig, subscribers(rig, 100) as groups:
        seconds = push(rig, groups, 10)
        assert statistics.median(seconds) < 1, "15 ms on a quiet machine: see the benchmark"
        assert max(seconds) < MACHINE_IS_BUSY
        elapsed, octets = come_back(rig, groups)
        assert elapsed < 6 * MACHINE_IS_BUSY, "a second on a quiet machine"
        assert octets < 100 * 4096, "what was missed, and no more"
        assert max(push(rig, groups, 1)) < MACHINE_IS_BUSY
