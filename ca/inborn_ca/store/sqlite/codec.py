"""How values lie in columns, where several tables have them: times, IDs, selectors, JSON. No statement is run here."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from inborn._internal.selectors.selector import Selector, parse_selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id

__all__ = [
    "MICRO",
    "Row",
    "from_micros",
    "id_or_none",
    "json_text",
    "micros_or_none",
    "selectors",
    "selectors_text",
    "time_or_none",
    "to_micros",
]

Row = tuple[Any, ...]

MICRO = dt.timedelta(microseconds=1)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_micros(time: dt.datetime) -> int:
    return (time - _EPOCH) // MICRO


def from_micros(micros: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=micros)


def micros_or_none(time: dt.datetime | None) -> int | None:
    return None if time is None else to_micros(time)


def time_or_none(micros: int | None) -> dt.datetime | None:
    return None if micros is None else from_micros(micros)


def id_or_none(text: str | None) -> SpiffeId | None:
    return None if text is None else parse_spiffe_id(text)


def json_text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def selectors_text(values: Sequence[Selector]) -> str:
    return json_text([str(value) for value in values])


def selectors(text: str) -> tuple[Selector, ...]:
    return tuple(parse_selector(value) for value in json.loads(text))
