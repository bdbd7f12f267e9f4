"""The tree of errors, and what is left of one after it went over the wire."""

from __future__ import annotations

import ast
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inborn import errors
from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId
from inborn.errors import (
    AlreadyExistsError,
    DeniedError,
    ExhaustedError,
    InbornError,
    InternalError,
    NotFoundError,
    PreconditionError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
    duration,
    error_from_wire,
)

SOURCES = [path for name in ("client", "ca") for path in (Path(__file__).parents[2] / name).rglob("*.py")]


class WithOtherConstructor(DeniedError):
    """An error whose constructor takes something else, as a subclass may."""

    def __init__(self, who: str, count: int) -> None:
        super().__init__(f"{who} came {count} times", who=who)
        self.who = who


def test_message_hint_and_facts_are_attributes() -> None:
    error = NotFoundError("no entry e1", hint="see: inborn entry list", entry="e1")
    assert (str(error), error.message, error.hint) == ("no entry e1", "no entry e1", "see: inborn entry list")
    assert error.facts == {"entry": "e1"}
    assert error.kind == "NotFoundError"


@pytest.mark.parametrize(
    ("kind", "family", "code"),
    [
        (RequestError, RequestError, 3),
        (NotFoundError, RequestError, 5),
        (AlreadyExistsError, RequestError, 6),
        (PreconditionError, RequestError, 9),
        (DeniedError, DeniedError, 7),
        (UnauthenticatedError, DeniedError, 16),
        (UnavailableError, UnavailableError, 14),
        (ExhaustedError, UnavailableError, 8),
        (InternalError, InternalError, 13),
    ],
)
def test_each_error_has_a_family_and_one_grpc_code(
    kind: type[InbornError], family: type[InbornError], code: int
) -> None:
    assert issubclass(kind, family)
    assert kind.status == code
    assert type(error_from_wire("Unheard", "m", "", code)) is kind


@pytest.mark.parametrize("error", [InvalidSpiffeId("trust domain is empty", hint="h"), ExhaustedError("too many")])
def test_error_keeps_its_type_across_the_wire(error: InbornError) -> None:
    again = error_from_wire(error.kind, error.message, error.hint, error.status)
    assert type(again) is type(error)
    assert (again.message, again.hint, str(again)) == (error.message, error.hint, str(error))
    assert again.facts == {}


def test_error_with_a_constructor_of_its_own_comes_back_as_its_type() -> None:
    error = WithOtherConstructor("agent", 3)
    again = error_from_wire(error.kind, error.message, error.hint, error.status)
    assert type(again) is WithOtherConstructor
    assert again.message == "agent came 3 times"


def test_kind_that_does_not_fit_its_status_is_not_believed() -> None:
    assert type(error_from_wire("InvalidSpiffeId", "m", "", 7)) is DeniedError
    assert type(error_from_wire("NotFoundError", "m", "", 3)) is RequestError


@pytest.mark.parametrize("kind", ["", "InbornError", "Exception", "object", "__class__", "\x00", "a" * 100_000])
def test_unknown_kind_becomes_the_family_of_its_status(kind: str) -> None:
    assert type(error_from_wire(kind, "m", "", 14)) is UnavailableError


def test_kind_that_is_not_known_here_is_passed_on() -> None:
    """As the front does between signer and caller: neither it nor the agent has the signer's types."""
    seen = error_from_wire("TokenHasNoUseLeft", "m", "h", 7)
    assert (type(seen), seen.kind) == (DeniedError, "TokenHasNoUseLeft")
    again = error_from_wire(seen.kind, seen.message, seen.hint, seen.status)
    assert (type(again), again.kind, again.hint) == (DeniedError, "TokenHasNoUseLeft", "h")


@pytest.mark.parametrize(
    "kind", ["", "no", "lowercase", "With Space", "X" * 65, "Null\x00", "Ünicode", "NotFoundError"]
)
def test_kind_that_can_be_none_of_ours_is_not_passed_on(kind: str) -> None:
    assert error_from_wire(kind, "m", "", 7).kind == "DeniedError"


def test_flood_of_unknown_kinds_is_bounded() -> None:
    """They become labels of metrics, and the other side chooses them. In a process of its own, as it keeps them."""
    code = (
        "from inborn.errors import error_from_wire\n"
        "kinds = {error_from_wire(f'Kind{number}', 'm', '', 7).kind for number in range(10_000)}\n"
        "assert len(kinds) == 257, len(kinds)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("status", [0, 1, 99, -1])
def test_unknown_status_is_a_bug(status: int) -> None:
    assert type(error_from_wire("NotFoundError", "m", "", status)) is InternalError


def test_text_of_the_other_side_is_one_line_without_control_characters() -> None:
    nasty = "a\nb\r\x1b[31m\x00\u202e\u2028\ud800\x85c"
    error = error_from_wire("DeniedError", nasty, nasty, 7)
    assert error.message == error.hint == "a?b??[31m?????c"


def test_text_of_the_other_side_is_cut() -> None:
    error = error_from_wire("DeniedError", "a" * 1_000_000, "b" * 1_000_000, 7)
    assert len(error.message) == len(error.hint) == 2048


def test_letters_of_other_scripts_stay() -> None:
    assert error_from_wire("DeniedError", "Zürich 東京", "", 7).message == "Zürich 東京"


def test_every_public_name_is_listed() -> None:
    assert errors.__all__ == sorted(errors.__all__)
    for name in errors.__all__:
        assert hasattr(errors, name)


def test_two_errors_of_one_name_and_different_codes_are_kept_apart() -> None:
    def make(base: type[InbornError]) -> type[InbornError]:
        class OfOneName(base):  # type: ignore[misc,valid-type]
            pass

        return OfOneName

    denied, request = make(DeniedError), make(RequestError)
    assert type(error_from_wire("OfOneName", "m", "", 7)) is denied
    assert type(error_from_wire("OfOneName", "m", "", 3)) is request
    assert type(error_from_wire("OfOneName", "m", "", 14)) is UnavailableError


def test_no_two_errors_have_one_name_and_one_code() -> None:
    """Name and code are the kind on the wire: of two, the last one imported would be made for both."""
    classes = [
        (node.name, [base.id for base in node.bases if isinstance(base, ast.Name)], path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    codes = {name: getattr(errors, name).status for name in errors.__all__ if name.endswith("Error")}
    found: dict[tuple[str, int], set[Path]] = {}
    for _ in range(8):  # generations below the family
        for name, bases, path in classes:
            for base in bases:
                if base in codes:
                    found.setdefault((name, codes[base]), set()).add(path)
        codes |= {name: code for name, code in found if name not in codes}
    assert ("InvalidSpiffeId", 3) in found
    assert ("InvalidBundle", 3) in found
    assert {key: paths for key, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (90, "1m30s"), (86400, "1d"), (90061, "1d1h1m1s"), (-60, "-1m")]
)
def test_span_of_time_is_written_in_whole_units(seconds: float, text: str) -> None:
    assert duration(dt.timedelta(seconds=seconds)) == text
