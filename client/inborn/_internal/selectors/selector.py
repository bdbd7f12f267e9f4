"""Selectors: `type:value` facts about a workload, and their form. `selectors.trust` says what each proves.

Names are SPIRE's where SPIRE has them (`unix:uid:1000`, `docker:label:app:web`), so that entries can be carried over.
A selector's value is literal: `*` is a character, not a wildcard. Nothing here looks at a process.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from inborn.errors import RequestError

__all__ = ["Selector", "SelectorError", "parse_selector"]

# A selector ends in a database row, a log line and an audit row for each certificate: long enough for any label or
# digest, short enough that a thousand of them are a megabyte.
MAX_SELECTOR_BYTES = 1024

# A process has some forty of them, and the next one mostly the same: reading one again costs a look-up. An entry of the
# cache takes some 300 bytes, 2 KiB at most.
MAX_REMEMBERED = 4096

_TYPE = re.compile(r"[a-z0-9_]+")
# Control characters, lone surrogates, line and paragraph separators: whatever could end a line in a log or a terminal.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


class SelectorError(RequestError):
    """The text is not a selector."""


class _Pair(NamedTuple):
    type: str
    value: str


class Selector(_Pair):
    """One fact about a workload. Valid if it exists; `str()` gives `type:value`.

    It says nothing about whether any attestor produces facts of this type. A tuple and not a dataclass: sets of forty
    are compared, sorted and hashed for every certificate.
    """

    __slots__ = ()

    def __new__(cls, type: str, value: str) -> Selector:
        if not _TYPE.fullmatch(type):
            raise SelectorError(f"selector type {_shown(type)} is not of the form [a-z0-9_]+")
        if not value:
            raise SelectorError(f"selector of type {type} has no value")
        if not (value.isascii() and value.isprintable()):
            _refuse_characters(type, value)
        size = len(type) + 1 + len(value.encode())
        if size > MAX_SELECTOR_BYTES:
            raise SelectorError(f"selector of type {_shown(type)} has {size} bytes, at most {MAX_SELECTOR_BYTES}")
        return super().__new__(cls, type, value)

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"


def _refuse_characters(type_: str, value: str) -> None:
    for character in value:
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise SelectorError(
                f"selector of type {type_} contains the character U+{ord(character):04X}, "
                "control characters and line breaks are refused"
            )


def parse_selector(text: str) -> Selector:
    """Read `type:value`; the value begins after the first colon and may contain more of them.

    Nothing is trimmed or folded: what was written is what must match. Raises `SelectorError`.
    """
    return _parsed(text)


@lru_cache(maxsize=MAX_REMEMBERED)
def _parsed(text: str) -> Selector:
    type_, colon, value = text.partition(":")
    if not colon:
        raise SelectorError(f"selector {_shown(text)} has no colon", hint="write type:value, as in unix:uid:1000")
    return Selector(type=type_, value=value)


def _shown(text: str) -> str:
    """A short form of refused text that is safe in one line."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")
