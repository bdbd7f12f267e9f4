"""How much the front takes on at once."""

from __future__ import annotations

import contextlib

import pytest

from inborn.errors import ExhaustedError
from inborn_ca.front.admission import Admission, TokenBucket


def test_calls_over_the_limit_are_refused_and_places_come_back() -> None:
    admission = Admission(max_open=2)
    with admission.call(1), admission.call(1):
        with pytest.raises(ExhaustedError, match="more than 2 calls"), admission.call(1):
            pass
    assert (admission.open, admission.octets) == (0, 0)
    with admission.call(1):
        pass


def test_octets_of_open_calls_are_bounded() -> None:
    admission = Admission(max_octets=100)
    with admission.call(60):
        with pytest.raises(ExhaustedError, match="more than 100 bytes"), admission.call(41):
            pass
        with admission.call(40):
            pass


def test_place_of_a_call_that_fails_comes_back() -> None:
    admission = Admission()
    with contextlib.suppress(ZeroDivisionError), admission.call(5):
        raise ZeroDivisionError
    assert (admission.open, admission.octets) == (0, 0)


def test_streams_are_counted_apart() -> None:
    admission = Admission(max_open=1, max_streams=1)
    with admission.stream(), admission.call(1):
        with pytest.raises(ExhaustedError, match="more than 1 streams"), admission.stream():
            pass
    assert admission.streams == 0


def test_bucket_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    bucket = TokenBucket(burst=3, per_second=2, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
