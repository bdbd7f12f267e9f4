"""The settings document: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.settings.document import (
    MAX_DOCUMENT,
    BadSettings,
    command_line,
    decode,
    encode,
    sealed_document,
    settings_of,
)
from inborn.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    port: int = 0

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise RequestError(f"port is too large: {self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    path: Path
    is_on: bool = False
    life: dt.timedelta = dt.timedelta(minutes=1)
    level: Literal["info", "debug"] = "info"
    words: tuple[str, ...] = ()
    maybe: str | None = None
    inner: Inner = Inner()
    other: Inner | None = None


GOOD = Outer(name="a", path=Path("/x"))
text = st.text(st.characters(exclude_characters="\0"))


@given(
    name=text,
    path=st.binary(min_size=1, max_size=50).filter(lambda octets: b"\0" not in octets),
    life=st.timedeltas(dt.timedelta(0), dt.timedelta(days=10_000)).map(
        lambda life: dt.timedelta(seconds=int(life.total_seconds()))
    ),
    words=st.lists(text).map(tuple),
    maybe=st.none() | text,
    port=st.integers(0, 65535),
)
def test_what_goes_in_comes_out(
    name: str, path: bytes, life: dt.timedelta, words: tuple[str, ...], maybe: str | None, port: int
) -> None:
    """Paths are bytes that need not be UTF-8."""
    settings = Outer(
        name=name, path=Path(os.fsdecode(path)), life=life, words=words, maybe=maybe, other=Inner(port=port)
    )
    assert decode(encode(settings), Outer) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"name": None},
        {"name": "a\0b"},
        {"path": ""},
        {"path": "a\0b"},
        {"path": 3},
        {"is_on": 1},
        {"is_on": "true"},
        {"life": "60"},
        {"life": True},
        {"life": 1e300},
        {"life": None},
        {"level": "trace"},
        {"level": 1},
        {"words": "abc"},
        {"words": [1]},
        {"words": {"a": "b"}},
        {"maybe": 0},
        {"inner": None},
        {"inner": []},
        {"inner": {}},
        {"inner": {"port": 1.0}},
        {"inner": {"port": True}},
        {"inner": {"port": 65536}},
        {"inner": {"port": 1, "host": "x"}},
        {"unknown": 1},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    document = {**json.loads(encode(GOOD)), **change}
    with pytest.raises(BadSettings, match="settings"):
        decode(json.dumps(document).encode(), Outer)


def test_field_that_is_missing_is_named() -> None:
    for name in json.loads(encode(GOOD)):
        document = json.loads(encode(GOOD))
        del document[name]
        with pytest.raises(BadSettings, match=f"settings has no {name}"):
            decode(json.dumps(document).encode(), Outer)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{}{}",
        b"[" * 100_000,
        b'{"name": NaN}',
        encode(GOOD)[:-1],
        encode(GOOD) + b"}",
        encode(GOOD).replace(b'"is_on": false', b'"is_on": false, "is_on": true'),
        encode(GOOD).replace(b"60.0", b"Infinity"),
        encode(GOOD).replace(b"60.0", b"1e999"),
        encode(GOOD).replace(b"60.0", b"9" * 5000),
        encode(GOOD) + b" " * MAX_DOCUMENT,
    ],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(BadSettings):
        decode(data, Outer)


@given(st.binary(max_size=200))
def test_octets_of_any_kind_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(BadSettings):
        decode(data, Outer)


def test_settings_that_are_too_large_are_not_written() -> None:
    with pytest.raises(BadSettings, match="larger than"):
        sealed_document(replace(GOOD, name="x" * MAX_DOCUMENT))


def test_document_is_sealed_not_inherited_and_read_once() -> None:
    descriptor = sealed_document(GOOD)
    assert not os.get_inheritable(descriptor)
    wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == wanted
    for spoil in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 0)):
        with pytest.raises(PermissionError):
            spoil()
    assert settings_of(command_line(descriptor), Outer) == GOOD
    with pytest.raises(BadSettings, match="cannot be read"):  # it was closed
        settings_of(command_line(descriptor), Outer)


def test_pipe_that_is_filled_slowly_is_read_to_its_end() -> None:
    read, write = os.pipe()
    data = encode(GOOD)
    if os.fork() == 0:
        os.close(read)
        for octet in data:
            os.write(write, bytes([octet]))
        os._exit(0)
    os.close(write)
    assert settings_of(command_line(read), Outer) == GOOD
    os.wait()


def test_document_without_end_is_given_up(tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        with pytest.raises(BadSettings, match="larger than"):
            settings_of(command_line(os.dup(endless.fileno())), Outer)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--settings-fd"],
        ["3"],
        ["--settings-fd", ""],
        ["--settings-fd", "-1"],
        ["--settings-fd", "x"],
        ["--settings-fd", "٣"],
        ["--settings-fd", "9" * 30],
        ["--settings-fd", "999999"],
        ["--settings-fd", "3", "--data-dir"],
        ["--data-dir", "/x"],
    ],
)
def test_command_line_that_names_no_document_is_refused(arguments: list[str]) -> None:
    with pytest.raises(BadSettings):
        settings_of(arguments, Outer)
