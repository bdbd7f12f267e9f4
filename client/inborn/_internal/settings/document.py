"""The one document in which a process is told its settings: a tree of frozen dataclasses, as JSON, over a descriptor.

Whoever starts a process (`inborn up` its supervisor, the supervisor its children) writes the document to a sealed
memfd (memfd_create(2)) and names its number on the command line; nothing else stands there or in the environment. The
reader takes exactly the fields of the dataclass that it expects: what is missing, unknown or of another type is
refused, so that two versions of the program that meet do not guess. Standard library alone: the supervisor loads
nothing more.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import math
import os
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from inborn.errors import InbornError, RequestError

__all__ = ["MAX_DOCUMENT", "BadSettings", "command_line", "decode", "encode", "sealed_document", "settings_of"]

T = TypeVar("T")

MAX_DOCUMENT = 256 * 1024  # bytes: a path has 4 KiB at most and six times as much when it is escaped; there are a dozen
_OPTION = "--settings-fd"
_HINT = "inborn up, inborn ca run and inborn agent run start this process and write them"


class BadSettings(RequestError):
    """A settings document is missing, too large, or not what the process expects."""


def encode(settings: object) -> bytes:
    """The document of a dataclass. Raises `BadSettings` for one that would be too large."""
    data = json.dumps(_plain(settings)).encode("ascii")
    if len(data) > MAX_DOCUMENT:
        raise BadSettings(f"settings are larger than {MAX_DOCUMENT} bytes: {len(data)}")
    return data


def decode(data: bytes, kind: type[T]) -> T:
    """The settings in a document. Raises `BadSettings`, also for what the dataclasses themselves refuse."""
    if len(data) > MAX_DOCUMENT:
        raise BadSettings(f"settings are larger than {MAX_DOCUMENT} bytes", hint=_HINT)
    if not data:
        raise BadSettings("settings are empty", hint=_HINT)
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise BadSettings(f"settings are not JSON: {e}", hint=_HINT) from e
    settings: T = _read(document, kind, "settings")
    return settings


def sealed_document(settings: object) -> int:
    """A descriptor that the document can be read from and nobody can write to; whoever asked for it closes it.

    It is not inherited: name it in `pass_fds`, or make it inheritable before an exec. Raises `BadSettings`, `OSError`.
    """
    data = encode(settings)
    descriptor = os.memfd_create("inborn-settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def command_line(descriptor: int) -> list[str]:
    """What tells a process where its settings are."""
    return [_OPTION, str(descriptor)]


def settings_of(arguments: Sequence[str], kind: type[T]) -> T:
    """Read the settings that the command line names, to their end, and close the descriptor. Raises `BadSettings`."""
    if len(arguments) != 2 or arguments[0] != _OPTION:
        raise BadSettings(f"settings are missing: {_OPTION} N is all that this process takes", hint=_HINT)
    number = arguments[1]
    if not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise BadSettings(f"{number[:20]!a} is not the number of a descriptor", hint=_HINT)
    return decode(_read_all(int(number)), kind)


def _read_all(descriptor: int) -> bytes:
    data = b""
    try:
        while len(data) <= MAX_DOCUMENT and (part := os.read(descriptor, MAX_DOCUMENT + 1 - len(data))):
            data += part
        os.close(descriptor)
    except OSError as e:
        raise BadSettings(f"descriptor {descriptor} cannot be read: {(e.strerror or '').lower()}", hint=_HINT) from e
    return data


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"a setting cannot be a {type(value).__name__}")


def _read(value: object, kind: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (each for each in arguments if each is not type(None))
        return _read(value, kind, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise BadSettings(f"{where} is none of {', '.join(arguments)}", hint=_HINT)
        return value
    if origin is tuple:
        if type(value) is not list:
            raise BadSettings(f"{where} is not a list", hint=_HINT)
        return tuple(_read(item, arguments[0], f"{where}[{number}]") for number, item in enumerate(value))
    if is_dataclass(kind):
        return _read_fields(value, kind, where)
    if kind is dt.timedelta:
        return _span(value, where)
    if type(value) is not (str if kind is Path else kind):
        raise BadSettings(f"{where} is not of type {kind.__name__}", hint=_HINT)
    if isinstance(value, str) and "\0" in value:
        raise BadSettings(f"{where} has a zero in it", hint=_HINT)
    if kind is Path and not value:
        raise BadSettings(f"{where} is an empty path", hint=_HINT)
    return kind(value)


def _read_fields(value: object, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise BadSettings(f"{where} is not an object", hint=_HINT)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for name in value:
        if name not in names:
            raise BadSettings(f"{where} has an unknown {name[:40]!a}", hint=_HINT)
    for name in names:
        if name not in value:
            raise BadSettings(f"{where} has no {name}", hint=_HINT)
    read = {name: _read(value[name], hints[name], f"{where}.{name}") for name in names}
    try:
        return kind(**read)
    except InbornError as e:
        raise BadSettings(f"{where}: {e.message}", hint=e.hint) from e


def _span(value: object, where: str) -> dt.timedelta:
    if type(value) not in (int, float) or not isinstance(value, int | float):
        raise BadSettings(f"{where} is not a number of seconds", hint=_HINT)
    try:
        if not math.isfinite(value):
            raise OverflowError
        return dt.timedelta(seconds=value)
    except OverflowError as e:
        raise BadSettings(f"{where} is more seconds than there are", hint=_HINT) from e


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
