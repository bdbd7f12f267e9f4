"""One word of an admin, and a service refuses the next call on a connection that is open: real processes."""

from __future__ import annotations

import statistics

from benchmarks.enforcing import revoke_until_refused
from benchmarks.rig import running


def test_next_call_on_an_open_connection_is_refused_after_revoke() -> None:
    with running() as rig:
        seconds = revoke_until_refused(rig, 15)
    assert len(seconds) == 15
    assert statistics.median(seconds) < 1, "10 ms on a quiet machine: see the benchmark"
    assert max(seconds) < 10, "where a process was not given a core"
