"""A plan never asks later than it must, nor hammers."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.spiffe.rotation import RETRY_FIRST, RETRY_LONGEST, Schedule, renewal_time, retry_delay

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
lives = st.timedeltas(dt.timedelta(seconds=1), dt.timedelta(days=10))
spreads = st.floats(0, 1)
MICROSECOND = dt.timedelta(microseconds=1)


@given(lives, spreads)
def test_renewal_lies_between_45_and_55_per_cent_of_the_life(life: dt.timedelta, spread: float) -> None:
    at = renewal_time(NOW, NOW + life, spread=spread) - NOW
    assert life * 0.45 - MICROSECOND <= at <= life * 0.55 + MICROSECOND


@given(lives, spreads, spreads)
def test_spread_moves_it_one_way(life: dt.timedelta, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert renewal_time(NOW, NOW + life, spread=low) <= renewal_time(NOW, NOW + life, spread=high)


@given(st.integers(0, 10_000), st.timedeltas(-dt.timedelta(days=1), dt.timedelta(days=10)), spreads)
def test_pause_has_its_bounds(failures: int, remaining: dt.timedelta, spread: float) -> None:
    pause = retry_delay(failures, remaining=remaining, spread=spread)
    assert RETRY_FIRST / 2 <= pause <= RETRY_LONGEST
    if remaining > 8 * RETRY_FIRST:
        assert pause <= remaining / 8 + MICROSECOND


@given(lives.filter(lambda life: life >= dt.timedelta(seconds=4)), st.lists(spreads, min_size=200, max_size=200))
def test_outage_is_met_with_attempts_to_the_end_and_never_a_storm(life: dt.timedelta, spread: list[float]) -> None:
    """The CA is away from the first attempt on: tried again until the last moments, a bounded number of times."""
    schedule = Schedule.after_issue(NOW, NOW + life, spread=spread[0])
    for s in spread:
        at = schedule.next_attempt
        if at >= schedule.not_after:
            break
        last = at
        schedule.failed(at, spread=s)
        assert schedule.next_attempt > at
    else:
        return  # a long life: two hundred attempts did not fill it
    assert NOW + life - last <= max(life / 7, 2 * RETRY_FIRST)
