"""When a process that has died is started again."""

from __future__ import annotations

from inborn_ca.supervisor.restarts import LONGEST_PAUSE, MAX_FAILED_STARTS, STABLE_AFTER, WINDOW, Restarts


def test_first_death_of_a_server_is_followed_by_a_start_at_once() -> None:
    assert Restarts().died(0.0, served=3600.0) == 0.0


def test_pauses_grow_while_it_dies_soon_and_end_at_the_longest() -> None:
    restarts = Restarts()
    pauses = [restarts.died(float(n), served=1.0) for n in range(50)]
    assert pauses[0] == 0.0
    assert pauses[1:] == sorted(pauses[1:], key=lambda p: p or 0)
    assert pauses[-1] == LONGEST_PAUSE


def test_who_comes_up_each_time_is_started_again_for_ever() -> None:
    restarts = Restarts()
    assert all(restarts.died(n / 10, served=0.05) is not None for n in range(10_000))


def test_a_while_of_service_makes_the_next_death_the_first_again() -> None:
    restarts = Restarts()
    for n in range(5):
        restarts.died(float(n), served=0.1)
    assert restarts.died(100.0, served=STABLE_AFTER) == 0.0


def test_who_never_comes_up_is_given_up_within_the_window() -> None:
    restarts = Restarts()
    pauses = [restarts.died(float(n), served=None) for n in range(MAX_FAILED_STARTS)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


def test_failed_starts_that_lie_far_apart_are_forgiven() -> None:
    restarts = Restarts()
    apart = WINDOW / (MAX_FAILED_STARTS - 2)
    assert all(restarts.died(n * apart, served=None) is not None for n in range(100))


def test_who_is_killed_while_it_starts_has_not_failed() -> None:
    restarts = Restarts()
    pauses = [restarts.died(n / 10, served=None, was_killed=True) for n in range(100)]
    assert None not in pauses
    assert pauses[-1] == LONGEST_PAUSE
