"""What the command prints: data on stdout, talk on stderr.

Text that came from elsewhere (notes, names, messages of the other side) is cleaned before a terminal sees it: control
characters become question marks. JSON carries it whole.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from inborn._internal.host.talk import clean
from inborn_cli.typed_values import format_duration

__all__ = [
    "as_document",
    "print_data",
    "print_document",
    "print_facts",
    "print_line",
    "print_table",
    "print_table_or_json",
    "time_or_none",
    "time_text",
    "until_text",
]

# A field of this name holds a JSON object as text, and is shown as the object.
_JSON_FIELDS = frozenset({"inborn.admin.v1.AuditRow.detail"})


def print_data(text: str) -> None:
    """Print a line of data."""
    print(text, flush=True)


def print_document(document: object) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=2), flush=True)


def print_line(document: object) -> None:
    """Print one JSON document in a line of its own, for streams."""
    print(json.dumps(document, separators=(",", ":")), flush=True)


def print_table(headers: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Print columns, as wide as what is in them. Without headers it goes on with a table already begun."""
    table = [[clean(cell) or "-" for cell in row] for row in rows]
    if headers is not None:
        table.insert(0, list(headers))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def print_facts(facts: Iterable[tuple[str, str | Sequence[str]]]) -> None:
    """Print one thing: a label and its value in each line; what has no value is left out."""
    shown = [(label, [value] if isinstance(value, str) else list(value)) for label, value in facts]
    shown = [(label, [clean(value) for value in values if value]) for label, values in shown]
    shown = [(label, values) for label, values in shown if values]
    width = max((len(label) for label, _ in shown), default=0)
    for label, values in shown:
        for number, value in enumerate(values):
            print(f"{label if number == 0 else '':<{width}}  {value}")
    sys.stdout.flush()


def print_table_or_json(
    is_json: bool, items: Sequence[Message], headers: Sequence[str], rows: Iterable[Sequence[str]], *, none: str
) -> None:
    """Print a list as a JSON array or as a table; of an empty table only the word `none` remains, on stderr."""
    if is_json:
        print_document([as_document(item) for item in items])
    elif items:
        print_table(headers, rows)
    else:
        print(none, file=sys.stderr)


def as_document(message: Message) -> dict[str, object]:
    """A message as JSON: its own field names, every field present, integers as integers, bytes in hex, times in RFC
    3339 (null where there is none)."""
    document: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, Message) and not message.HasField(field.name):
            document[field.name] = None
        elif field.full_name in _JSON_FIELDS:
            document[field.name] = _json_or_text(value)
        else:
            document[field.name] = _as_value(value)
    return document


def _as_value(value: object) -> object:
    match value:
        case Timestamp():
            return time_text(time_or_none(value), timespec="milliseconds")
        case Message():
            return as_document(value)
        case bytes():
            return value.hex()
        case str():
            return value
        case Mapping():
            return {str(key): _as_value(value[key]) for key in sorted(value)}
        case Sequence():
            return [_as_value(item) for item in value]
        case _:
            return value


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def time_or_none(stamp: Timestamp) -> dt.datetime | None:
    """A time of the wire; the epoch itself means: none."""
    return None if stamp.seconds == 0 and stamp.nanos == 0 else stamp.ToDatetime(tzinfo=dt.UTC)


def time_text(moment: dt.datetime | None, *, timespec: str = "seconds") -> str | None:
    """RFC 3339 in UTC."""
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def until_text(moment: dt.datetime | None, *, now: dt.datetime) -> str:
    """A time for people: when, and how far away it is."""
    if moment is None:
        return ""
    distance = _rounded(abs(moment - now))
    return f"{time_text(moment)} ({distance} ago)" if moment < now else f"{time_text(moment)} (in {distance})"


def _rounded(span: dt.timedelta) -> str:
    """A duration as people say it: days alone from ten days on, and so forth."""
    for unit in (dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)):
        if span >= 10 * unit:
            return format_duration(span // unit * unit)
    return format_duration(span)
