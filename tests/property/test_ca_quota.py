"""A quota lets through what it says, whatever the callers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn.errors import ExhaustedError
from inborn_ca.model.quota import Quota


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30)), max_size=60))
def test_never_more_than_capacity_and_refill(steps: list[tuple[float, int]]) -> None:
    quota = Quota("x", capacity=20, per_second=2)
    now, taken = 0.0, 0.0
    for wait, count in steps:
        now += wait
        try:
            quota.take("a", count, now)
        except ExhaustedError:
            continue
        taken += count
        assert taken <= 20 + 2 * now + 1e-6


def test_callers_have_a_quota_each_and_the_longest_silent_is_forgotten() -> None:
    quota = Quota("x", capacity=1, per_second=0, max_callers=3)
    for caller in "abc":
        quota.take(caller, 1, 0)
        with pytest.raises(ExhaustedError):
            quota.take(caller, 1, 0)
    quota.take("d", 1, 0)
    for caller in "bcd":  # which it does not forget
        with pytest.raises(ExhaustedError):
            quota.take(caller, 1, 0)
    quota.take("a", 1, 0)
