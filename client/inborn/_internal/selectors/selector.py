"""Selectors: `type:value` facts about a workload, and what each kind of fact proves.

Names are SPIRE's where SPIRE has them (`unix:uid:1000`, `docker:label:app:web`), so that entries can be carried over.
A selector's value is literal: `*` is a character, not a wildcard. Nothing here looks at a process.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from inborn.errors import RequestError

__all__ = ["Selector", "SelectorError", "TrustClass", "has_party_boundary", "parse_selector", "trust_class"]

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


class TrustClass(enum.Enum):
    """Whose word a selector is, the strongest first."""

    KERNEL = "kernel"
    """Read from the kernel, about the very process that asks. What a process may do to itself is among it (posture)."""
    RUNTIME = "runtime"
    """Said by the container engine or by systemd, about something that it made itself."""
    STARTER = "starter"
    """Chosen freely by whoever started the container, and only passed on by the engine."""


# What the engine computed itself. Labels, environment and the image's name (a tag that can be moved) are the words of
# whoever called the engine.
_ENGINE_WORDS = frozenset({"image_config_digest"})

# The unit that the system manager put the process in, and its file.
_MANAGER_WORDS = frozenset({"id", "fragment_path"})

# Facts that a user of another uid and other groups cannot have. Path and digest of the executable are not among them:
# anybody can run a program and preload a library into it.
_PARTY_FACTS = frozenset({"uid", "user", "gid", "group", "supplementary_gid", "supplementary_group"})


def trust_class(selector: Selector) -> TrustClass:
    """Say whose word `selector` is. A type that is not known here counts as the weakest.

    `rootless`, what an engine says that an ordinary user runs, is such a type: its word is that user's.
    """
    match selector.type:
        case "unix" | "posture":
            return TrustClass.KERNEL
        case "systemd" if _kind(selector) in _MANAGER_WORDS:
            return TrustClass.RUNTIME
        case "docker" if _kind(selector) in _ENGINE_WORDS:
            return TrustClass.RUNTIME
        case _:
            return TrustClass.STARTER


def has_party_boundary(selectors: Iterable[Selector]) -> bool:
    """Tell whether one of `selectors` is a fact that another user of the machine cannot have.

    A set without one tells programs apart, or repeats the words of whoever started the container; it does not tell
    parties apart. One uid is a single party: processes of one user can trace each other and hand over their keys.
    Posture is not such a fact: everybody may lock himself in.
    """
    return any(_is_party_fact(selector) for selector in selectors)


def _is_party_fact(selector: Selector) -> bool:
    if selector.type == "unix":
        return _kind(selector) in _PARTY_FACTS
    return trust_class(selector) is TrustClass.RUNTIME


def _kind(selector: Selector) -> str:
    return selector.value.partition(":")[0]


def _shown(text: str) -> str:
    """A short form of refused text that is safe in one line."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")
