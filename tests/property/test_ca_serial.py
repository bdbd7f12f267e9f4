"""Serials rise strictly whatever the clock does, and times are ranges of them."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn.errors import InternalError
from inborn_ca.certificates.serial import RANDOM_OCTETS, ClockOutOfRange, SerialSource, serial_floor, serial_time

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)

clocks = st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(6000, 1, 1), timezones=st.just(dt.UTC))
near = st.integers(-3, 3).map(lambda ms: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + ms * MS)
random = st.binary(min_size=RANDOM_OCTETS, max_size=RANDOM_OCTETS)


@given(st.lists(st.tuples(clocks | near, random), min_size=2, max_size=50), st.integers(0, 65_535))
def test_serials_rise_strictly_whatever_the_clock_does(asked: list[tuple[dt.datetime, bytes]], counter: int) -> None:
    source = SerialSource(1_767_225_600_000, counter)
    serials = [source.next(now, octets) for now, octets in asked]
    assert all(one < other for one, other in pairwise(serials))
    for serial, (now, _) in zip(serials, asked, strict=True):
        assert len(serial) == 19
        # DER neither drops a leading byte nor adds one.
        assert 0 < serial[0] < 0x80
        assert serial_time(serial) >= now - MS
        assert serial >= serial_floor(now)


@given(st.lists(st.tuples(clocks | near, random), min_size=1, max_size=20), st.integers(0, 19))
def test_serials_rise_across_restarts(asked: list[tuple[dt.datetime, bytes]], restart: int) -> None:
    source, last = SerialSource(), b""
    for n, (now, octets) in enumerate(asked):
        if n == restart:
            source = SerialSource.from_state(source.state)
        serial = source.next(now, octets)
        assert serial > last
        last = serial


@given(near, random)
def test_a_counter_that_overflows_carries_into_the_milliseconds(now: dt.datetime, octets: bytes) -> None:
    ms = (now - EPOCH) // MS
    source = SerialSource(ms, 65_535)
    serial = source.next(now, octets)
    assert serial_time(serial) == EPOCH + (ms + 1) * MS
    assert serial[6:8] == b"\0\0"
    assert source.state == f"{ms + 1}:0"


@given(near, random, random)
def test_within_a_millisecond_the_counter_rises(now: dt.datetime, one: bytes, other: bytes) -> None:
    source = SerialSource()
    first, second = source.next(now, one), source.next(now, other)
    assert first[:6] == second[:6]
    assert (first[6:8], second[6:8]) == (b"\0\0", b"\0\1")
    assert (first[8:], second[8:]) == (one, other)


@given(near, near, random)
def test_a_range_of_time_is_a_range_of_serials(issued: dt.datetime, asked: dt.datetime, octets: bytes) -> None:
    serial = SerialSource().next(issued, octets)
    assert (serial >= serial_floor(asked)) is (issued >= asked)


@given(st.text(max_size=30))
def test_a_state_that_is_none_is_refused(text: str) -> None:
    try:
        source = SerialSource.from_state(text)
    except InternalError:
        return
    ms, _, counter = text.partition(":")
    assert source.state == f"{int(ms)}:{int(counter)}"


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "-1:0", "1:65536", "1:1\n", "99999999999999999:0", "١:٢"])
def test_bad_states_are_refused(text: str) -> None:
    with pytest.raises(InternalError):
        SerialSource.from_state(text)


def test_a_clock_beyond_all_serials_changes_nothing() -> None:
    source = SerialSource()
    source.next(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), bytes(11))
    before = source.state
    with pytest.raises(ClockOutOfRange):
        source.next(dt.datetime(9999, 1, 1, tzinfo=dt.UTC), bytes(11))
    assert source.state == before


@pytest.mark.parametrize("octets", [b"", bytes(10), bytes(12)])
def test_too_little_randomness_is_refused(octets: bytes) -> None:
    with pytest.raises(InternalError):
        SerialSource().next(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), octets)
