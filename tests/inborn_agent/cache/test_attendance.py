"""Who has applied which revocation, and whom the CA is told about."""

from __future__ import annotations

import datetime as dt

from inborn_agent.cache.attendance import LAG_LIMIT, MAX_LAGGARDS, AppliedReport, Attendance
from tests.rigs.certificates import NOW

LOG = b"l" * 16
MOMENT = dt.timedelta(milliseconds=1)


def attendance(seq: int = 3) -> Attendance:
    made = Attendance()
    made.published(LOG, seq, NOW)
    return made


def test_without_libraries_the_agent_speaks_for_itself() -> None:
    assert attendance().report(NOW) == AppliedReport(revocation_seq=3, laggards=())


def test_who_has_just_come_is_up_to_date() -> None:
    made = attendance()
    made.joined(1, "pid 1")
    assert made.report(NOW).revocation_seq == 3
    assert made.next_deadline(NOW) is None


def test_the_slowest_library_counts_and_is_named_after_two_seconds() -> None:
    made = attendance()
    made.joined(1, "pid 1 spiffe://example.org/a")
    made.joined(2, "pid 2 spiffe://example.org/b")
    made.published(LOG, 4, NOW)
    made.acknowledged(1, LOG, 4)
    assert made.report(NOW) == AppliedReport(revocation_seq=3, laggards=())
    deadline = made.next_deadline(NOW)
    assert deadline == NOW + LAG_LIMIT
    assert made.report(deadline) == AppliedReport(revocation_seq=3, laggards=("pid 2 spiffe://example.org/b",))
    made.acknowledged(2, LOG, 4)
    assert made.report(deadline) == AppliedReport(revocation_seq=4, laggards=())


def test_a_library_that_gets_on_without_catching_up_stays_late() -> None:
    made = attendance()
    made.joined(1, "pid 1")
    made.published(LOG, 4, NOW)
    made.published(LOG, 5, NOW + LAG_LIMIT - MOMENT)
    made.acknowledged(1, LOG, 4)
    assert made.report(NOW + LAG_LIMIT) == AppliedReport(revocation_seq=4, laggards=("pid 1",))


def test_who_leaves_holds_up_nobody() -> None:
    made = attendance()
    made.joined(1, "pid 1")
    made.published(LOG, 4, NOW)
    made.left(1)
    assert made.report(NOW + LAG_LIMIT) == AppliedReport(revocation_seq=4, laggards=())


def test_what_lies_beyond_the_log_behind_what_was_said_or_in_another_log_is_not_believed() -> None:
    made = attendance()
    made.joined(1, "pid 1")
    made.published(LOG, 5, NOW)
    for log_id, seq in ((LOG, 6), (LOG, 2**63), (LOG, 0), (b"m" * 16, 5)):
        made.acknowledged(1, log_id, seq)
        assert made.report(NOW).revocation_seq == 3
    made.acknowledged(7, LOG, 5)  # nobody that is known


def test_in_another_log_everybody_starts_from_nothing() -> None:
    made = attendance()
    made.joined(1, "pid 1")
    made.published(b"m" * 16, 1, NOW)
    assert made.report(NOW).revocation_seq == 0
    made.acknowledged(1, b"m" * 16, 1)
    assert made.report(NOW).revocation_seq == 1


def test_a_hundred_are_named_at_most() -> None:
    made = attendance()
    for number in range(MAX_LAGGARDS + 5):
        made.joined(number, f"pid {number}")
    made.published(LOG, 4, NOW)
    assert len(made.report(NOW + LAG_LIMIT).laggards) == MAX_LAGGARDS
