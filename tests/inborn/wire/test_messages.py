"""Between the wire and the vocabulary."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

import inborn
from inborn._internal.enrollment.join_token import InvalidToken
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.wire.messages import (
    ERROR_METADATA_KEY,
    InvalidMessage,
    UnimplementedError,
    datetime_from_ms,
    error_from_status,
    error_to_metadata,
    revocation_from_wire,
    revocation_to_wire,
)
from inborn.errors import (
    DeniedError,
    InternalError,
    NotFoundError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
)
from inborn_proto import feed_pb2


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RevocationKind.SERIAL, b"\x01\x02"),
        (RevocationKind.KEY, bytes(32)),
        (RevocationKind.SPIFFE_ID, b"spiffe://example.org/a"),
        (RevocationKind.ID_PREFIX, b"spiffe://example.org/a"),
        (RevocationKind.AUTHORITY, bytes(20)),
    ],
)
def test_rule_survives_the_wire(kind: RevocationKind, value: bytes) -> None:
    rule = Revocation(
        seq=3,
        kind=kind,
        value=value,
        cut_offs={b"a": b"\x05", b"b": None},
        reason=1,
        blocks=True,
        revoked_at=dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC),
    )
    octets = revocation_to_wire(rule).SerializeToString()
    assert revocation_from_wire(feed_pb2.Revocation.FromString(octets)) == rule


@given(st.binary(max_size=64))
def test_no_octets_make_a_rule_that_breaks_the_set(octets: bytes) -> None:
    try:
        rule = revocation_from_wire(feed_pb2.Revocation.FromString(octets))
    except (DecodeError, InvalidMessage):
        return
    assert rule.seq >= 1
    assert rule.target


def test_rule_with_too_many_cut_offs_is_refused() -> None:
    wire = feed_pb2.Revocation(seq=1, kind="SERIAL", value=b"\x01", cut_offs=[feed_pb2.CutOff()] * 1025)
    with pytest.raises(InvalidMessage, match="1025"):
        revocation_from_wire(wire)


def test_times_out_of_range_are_refused() -> None:
    for milliseconds in (2**62, -(2**62)):
        with pytest.raises(InvalidMessage):
            datetime_from_ms(milliseconds)


def test_error_keeps_its_type_and_hint() -> None:
    error = error_from_status(3, "ignored", error_to_metadata(InvalidToken("token is cut off", hint="paste it whole")))
    assert type(error) is InvalidToken
    assert (error.message, error.hint) == ("token is cut off", "paste it whole")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (1, UnavailableError),
        (4, UnavailableError),
        (5, NotFoundError),
        (7, DeniedError),
        (12, UnimplementedError),
        (13, InternalError),
        (14, UnavailableError),
        (16, UnauthenticatedError),
        (2, InternalError),
        (3, RequestError),
    ],
)
def test_status_of_others_names_the_family(status: int, kind: type[Exception]) -> None:
    error = error_from_status(status, "text", ())
    assert type(error) is kind
    assert error.message == "text"


def test_metadata_that_cannot_be_read_is_passed_over() -> None:
    for value in (b"\xff", b"x" * 10_000):
        assert type(error_from_status(7, "text", ((ERROR_METADATA_KEY, value),))) is DeniedError


def test_the_package_offers_what_it_says_and_imports_it_late() -> None:
    for name in inborn.__all__:
        assert getattr(inborn, name) is not None
    assert sorted(inborn.__all__) == inborn.__all__
    assert set(inborn.__all__) <= set(dir(inborn))
    with pytest.raises(AttributeError, match="nothing"):
        _ = inborn.nothing  # type: ignore[attr-defined]
    heavy = {"grpc", "cryptography", "google.protobuf", "h11", "http", "prometheus_client"}
    assert succeeds(f"import inborn, sys; sys.exit(bool({heavy} & set(sys.modules)))")


def test_submodules_do_not_hide_what_the_package_offers() -> None:
    code = (
        "import inborn_member.enrolled_source, inborn._internal.grpc_adapter.channel, inborn._internal.tls.context\n"
        "import inborn._internal.grpc_adapter.interceptor, inborn.errors, inborn.testing, inborn\n"
        "assert all(callable(getattr(inborn, n)) for n in inborn.__all__ if n != 'errors')"
    )
    assert succeeds(code)


def succeeds(code: str) -> bool:
    """Whether the code runs in a Python of its own, which finds the packages where this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
