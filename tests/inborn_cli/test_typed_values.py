"""What people type: durations, times, serials, reasons, signals, addresses."""

from __future__ import annotations

import datetime as dt
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.revocation.reason import LEAF_REASONS
from inborn._internal.source.workload_api import BadEndpoint
from inborn_cli.typed_values import (
    InvalidValue,
    count_of,
    format_duration,
    parse_duration,
    parse_moment,
    parse_reason,
    parse_serial,
)
from inborn_cli.workload.agent_connection import workload_endpoint
from inborn_cli.workload.foreground_child import parse_signal

NOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("7d", 7 * 86400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        (" 10m ", 600),
    ],
)
def test_duration_is_parsed(text: str, seconds: int) -> None:
    assert parse_duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-5m", "5x", "m", "1.5h", "1m1h", "1h 30m", "1e3", "٣s", "²", "10M", "9" * 5000, "99999999d", "\n"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_duration(text)


@given(st.integers(0, 36525 * 86400))
def test_duration_is_read_as_it_was_written(seconds: int) -> None:
    assert parse_duration(format_duration(dt.timedelta(seconds=seconds))) == dt.timedelta(seconds=seconds)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) >= dt.timedelta()
    except InvalidValue:
        pass


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T11:00:00Z", NOW - dt.timedelta(hours=1)),
        ("2026-01-31T12:00:00+01:00", NOW - dt.timedelta(hours=1)),
        ("2026-01-31", NOW - dt.timedelta(hours=12)),
        ("1h", NOW - dt.timedelta(hours=1)),
        ("0", NOW),
    ],
)
def test_time_is_parsed(text: str, moment: dt.datetime) -> None:
    assert parse_moment(text, now=NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-31T11:00:00", "2026-02-30", "2026-1-1", "0001-01-01T00:00:00+14:00", "x" * 999]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_moment(text, now=NOW)


@given(st.text())
def test_any_text_is_a_time_in_utc_or_refused(text: str) -> None:
    try:
        assert parse_moment(text, now=NOW).utcoffset() == dt.timedelta()
    except InvalidValue:
        pass


@given(st.integers(1, 2**160 - 1))
def test_serial_is_read_however_it_is_printed(number: int) -> None:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    for text in (octets.hex(), octets.hex(":").upper(), f"0x{number:x}", f"{number:X}", f"00:{octets.hex(':')}"):
        assert parse_serial(text) == octets.hex()


@pytest.mark.parametrize("text", ["", "0", "00:00", "xyz", "-1", "1" * 41, "ff" * 21, "1 2", "0x", "f" * 10_000])
def test_what_is_no_serial_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_serial(text)


@pytest.mark.parametrize("reason", LEAF_REASONS)
def test_reason_is_read_in_capitals_or_not(reason: str) -> None:
    assert parse_reason(reason.upper()) == reason == parse_reason(reason)


@pytest.mark.parametrize("text", ["", "certificateHold", "removeFromCRL", "key compromise"])
def test_reason_that_is_no_leafs_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a reason"):
        parse_reason(text)


@pytest.mark.parametrize("text", ["HUP", "sighup", "SIGHUP", "1", " hup "])
def test_signal_is_read_by_name_and_number(text: str) -> None:
    assert parse_signal(text) is signal.SIGHUP


@pytest.mark.parametrize("text", ["", "NOPE", "0", "999", "-1", "SIG", "١"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ignal"):
        parse_signal(text)


@pytest.mark.parametrize("text", ["unix:relative", "unix://host/x", "unix:///x?y", "http://x/", "tcp://x:1"])
def test_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadEndpoint):
        workload_endpoint(text, None)


def test_named_socket_comes_before_data_directory_and_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///run/env.sock")
    monkeypatch.chdir(tmp_path)
    assert workload_endpoint("unix:///run/named.sock", Path("/data")) == "unix:///run/named.sock"
    assert workload_endpoint("named.sock", Path("/data")) == f"unix://{tmp_path}/named.sock"
    assert workload_endpoint(None, Path("/data")) == "unix:///data/run/api.sock"
    assert workload_endpoint(None, None) == "unix:///run/env.sock"


@pytest.mark.parametrize(("number", "text"), [(0, "0 bytes"), (1, "1 byte"), (2, "2 bytes")])
def test_things_are_counted(number: int, text: str) -> None:
    assert count_of(number, "byte") == text
