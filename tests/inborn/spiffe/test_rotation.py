"""When to renew."""

from __future__ import annotations

import datetime as dt

import pytest

from inborn._internal.spiffe.rotation import RETRY_FIRST, RETRY_LONGEST, Schedule, renewal_time, retry_delay

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
SECOND = dt.timedelta(seconds=1)


@pytest.mark.parametrize(("spread", "minutes"), [(0.0, 27.0), (0.5, 30.0), (1.0, 33.0)])
def test_renewal_is_at_half_of_the_life_ten_per_cent_either_way(spread: float, minutes: float) -> None:
    assert renewal_time(NOW, NOW + HOUR, spread=spread) == NOW + dt.timedelta(minutes=minutes)


def test_renewal_is_counted_from_issue_and_not_from_the_backdated_start() -> None:
    """A life of four seconds, backdated by thirty: renewed after two, and not at once."""
    assert renewal_time(NOW, NOW + 4 * SECOND, spread=0.5) == NOW + 2 * SECOND


@pytest.mark.parametrize("spread", [-1.0, 2.0, float("inf"), float("-inf")])
def test_spread_out_of_range_is_held_to_it(spread: float) -> None:
    at = renewal_time(NOW, NOW + HOUR, spread=spread)
    assert NOW + dt.timedelta(minutes=27) <= at <= NOW + dt.timedelta(minutes=33)


def test_certificate_that_is_over_is_due_at_once() -> None:
    assert Schedule.after_issue(NOW, NOW - HOUR, spread=0.5).is_due(NOW)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.25), (2, 0.5), (3, 1), (4, 2), (7, 16), (8, 30), (9, 30), (1_000_000, 30)]
)
def test_pauses_double_up_to_half_a_minute(failures: int, seconds: float) -> None:
    assert retry_delay(failures, remaining=HOUR, spread=1.0) == dt.timedelta(seconds=seconds)
    assert retry_delay(failures, remaining=HOUR, spread=0.0) == dt.timedelta(seconds=seconds) / 2


def test_pauses_shrink_as_the_end_comes_near() -> None:
    assert retry_delay(10, remaining=16 * SECOND, spread=1.0) == 2 * SECOND


def test_pause_is_never_shorter_than_half_of_the_first() -> None:
    for remaining in (SECOND, dt.timedelta(milliseconds=1), dt.timedelta(0), -HOUR):
        for failures in (0, 1, 20):
            assert retry_delay(failures, remaining=remaining, spread=0.0) >= RETRY_FIRST / 2


def test_pauses_go_on_growing_after_the_end() -> None:
    assert retry_delay(20, remaining=-SECOND, spread=1.0) == RETRY_LONGEST


def test_schedule_goes_from_failure_to_failure() -> None:
    schedule = Schedule.after_issue(NOW, NOW + HOUR, spread=0.5)
    assert not schedule.is_due(NOW + dt.timedelta(minutes=29))
    at = NOW + dt.timedelta(minutes=30)
    assert schedule.is_due(at)
    pauses = []
    for _ in range(4):
        schedule.failed(at, spread=1.0)
        assert not schedule.is_due(at)
        pauses.append((schedule.next_attempt - at).total_seconds())
        at = schedule.next_attempt
    assert pauses == [0.25, 0.5, 1.0, 2.0]
    assert schedule.failures == 4


def test_hurry_asks_at_once_and_forgets_the_failures() -> None:
    schedule = Schedule.after_issue(NOW, NOW + HOUR, spread=0.5)
    schedule.failed(NOW, spread=1.0)
    schedule.hurry(NOW)
    assert schedule.is_due(NOW)
    assert schedule.failures == 0


def test_a_clock_that_was_set_back_makes_it_due_once_and_not_at_each_look() -> None:
    schedule = Schedule.after_issue(NOW, NOW + HOUR, spread=0.5)
    assert not schedule.is_due(NOW - dt.timedelta(seconds=30))
    back = NOW - dt.timedelta(days=365)
    assert schedule.is_due(back)
    schedule.failed(back, spread=1.0)
    assert not schedule.is_due(back)
    assert schedule.is_due(schedule.next_attempt)
