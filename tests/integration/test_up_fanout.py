"""A revocation reaches a hundred agents at once, each over a connection of its own: real processes."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.fanout import push
from benchmarks.rig import running


@pytest.mark.slow
def test_revocation_reaches_a_hundred_subscribers_at_once() -> None:
    with running() as rig:
        seconds = push(rig, subscribers=100, pushes=10)
    assert len(seconds) == 10
    assert statistics.median(seconds) < 0.3, "15 ms on a quiet machine: see the benchmark"
    assert max(seconds) < 3
