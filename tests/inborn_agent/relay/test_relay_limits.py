"""RelayAdmission of callers, and what is said of those who are turned away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn_agent.relay.denials import WINDOW, Denial, DenialLog
from inborn_agent.relay.relay_limits import RelayAdmission, RelayLimits, TooManyConnections

LIMITS = RelayLimits(connections=10, connections_of_one_uid=5, unproven_of_one_uid=3)
NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


def admit(admission: RelayAdmission, uid: int) -> None:
    with admission.ticket(uid) as ticket:
        ticket.keep()


def test_silent_callers_of_one_uid_are_limited_and_others_are_not_touched() -> None:
    admission = RelayAdmission(LIMITS)
    for _ in range(3):
        admit(admission, 1000)
    with pytest.raises(TooManyConnections, match="3 silent connections of uid 1000"):
        admit(admission, 1000)
    admit(admission, 0)
    admission.proven(1000)
    admit(admission, 1000)


def test_connections_of_one_uid_are_limited() -> None:
    admission = RelayAdmission(LIMITS)
    for _ in range(5):
        admit(admission, 1000)
        admission.proven(1000)
    with pytest.raises(TooManyConnections, match="5 connections of uid 1000"):
        admit(admission, 1000)
    admission.left(1000, was_proven=True)
    admit(admission, 1000)


def test_connections_are_limited_in_all() -> None:
    admission = RelayAdmission(LIMITS)
    for uid in range(10):
        admit(admission, uid)
    with pytest.raises(TooManyConnections, match="10 connections, that is the limit"):
        admit(admission, 10)


def test_a_place_that_is_not_kept_is_given_back() -> None:
    admission = RelayAdmission(LIMITS)
    with pytest.raises(ZeroDivisionError), admission.ticket(1):
        raise ZeroDivisionError
    assert admission == RelayAdmission(LIMITS)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["come", "prove", "leave"])), max_size=80))
def test_whatever_comes_and_goes_the_limits_hold_and_nothing_is_left(steps: list[tuple[int, str]]) -> None:
    admission = RelayAdmission(LIMITS)
    silent, proven = [0] * 4, [0] * 4
    for uid, step in steps:
        if step == "come":
            is_full = sum(silent) + sum(proven) == 10 or silent[uid] + proven[uid] == 5 or silent[uid] == 3
            try:
                admit(admission, uid)
                assert not is_full
                silent[uid] += 1
            except TooManyConnections:
                assert is_full
        elif step == "prove" and silent[uid]:
            admission.proven(uid)
            silent[uid] -= 1
            proven[uid] += 1
        elif step == "leave" and (silent[uid] or proven[uid]):
            admission.left(uid, was_proven=not silent[uid])
            if silent[uid]:
                silent[uid] -= 1
            else:
                proven[uid] -= 1
    for uid in range(4):
        for _ in range(silent[uid]):
            admission.left(uid, was_proven=False)
        for _ in range(proven[uid]):
            admission.left(uid, was_proven=True)
    assert admission == RelayAdmission(LIMITS)


def test_denials_that_are_alike_are_one_line_a_minute_with_their_number() -> None:
    log = DenialLog()
    denial = Denial(kind="ForeignBytes", message="written by another", uid=1000, pid=7)
    lines = [log.record(denial, NOW + timedelta(seconds=n)) for n in range(60)]
    assert lines[0] == "caller denied: uid=1000 pid=7 kind=ForeignBytes reason=written by another"
    assert lines[1:] == [None] * 59
    last = log.record(denial, NOW + WINDOW)
    assert last is not None
    assert last.endswith("(59 more like it since 06:00:00Z)")
    assert log.counts == {"ForeignBytes": 61}


def test_denials_of_another_uid_or_kind_have_a_line_of_their_own() -> None:
    log = DenialLog()
    for uid in (1, 2):
        for kind in ("A", "B"):
            assert log.record(Denial(kind=kind, message="m", uid=uid), NOW) is not None
