"""Durations, moments and serials as people type them: `10m`, `1h30m`, `2026-01-31T12:00:00Z`, `01:9A:…`."""

from __future__ import annotations

import datetime as dt
import re

from inborn._internal.revocation.reason import AUTHORITY_REASONS, LEAF_REASONS
from inborn.errors import RequestError, duration

__all__ = [
    "InvalidValue",
    "count_of",
    "format_duration",
    "format_duration_seconds",
    "parse_duration",
    "parse_key",
    "parse_moment",
    "parse_reason",
    "parse_serial",
]

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}  # the order in which they may follow each other
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-")
_MAX_TEXT = 64  # characters: nothing that is meant is longer, and int() is slow on long ones
_MAX_DURATION = dt.timedelta(days=36525)  # a hundred years: beyond it, dates overflow
_MAX_SERIAL = 20  # bytes, RFC 5280 4.1.2.2


class InvalidValue(RequestError):
    """What was typed is not what is wanted there."""


def parse_duration(text: str) -> dt.timedelta:
    """Parse `90s`, `10m`, `1h`, `7d`, `1h30m`; a bare number is seconds. Whole, not negative, at most 100 years."""
    text = text.strip()
    if not text or len(text) > _MAX_TEXT or not text.isascii():
        raise InvalidValue(f"not a duration: {text[:_MAX_TEXT]!a}", hint="for example 90s, 10m, 1h30m, 7d")
    match = _DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
    if match is None:
        raise InvalidValue(f"not a duration: {text!a}", hint="for example 90s, 10m, 1h30m, 7d")
    seconds = sum(int(count or 0) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True))
    if seconds > _MAX_DURATION.total_seconds():
        raise InvalidValue(f"duration is longer than 100 years: {text}")
    return dt.timedelta(seconds=seconds)


def format_duration(span: dt.timedelta) -> str:
    """Write a duration so that `parse_duration` reads it, in whole seconds: `1h30m`. Negative ones get a sign."""
    return duration(span)


def format_duration_seconds(seconds: int) -> str:
    """The same for a number of seconds of the wire; 0 is the CA's default and has no text."""
    return format_duration(dt.timedelta(seconds=seconds)) if seconds else ""


def parse_moment(text: str, *, now: dt.datetime) -> dt.datetime:
    """Parse a moment in RFC 3339 (`2026-01-31T12:00:00Z`; a date alone is its first instant in UTC) or how long ago
    it was (`1h`)."""
    text = text.strip()
    if len(text) > _MAX_TEXT:
        raise InvalidValue(f"not a time: {text[:_MAX_TEXT]!a}")
    if _DATE.match(text) is None:  # fromisoformat takes far more than RFC 3339, also what looks like a number
        return now - _ago(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidValue(f"not a time: {text!a}", hint="for example 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        if "T" in text or " " in text:
            raise InvalidValue(f"time has no zone: {text!a}", hint=f"in UTC: {text}Z")
        moment = moment.replace(tzinfo=dt.UTC)
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError as error:
        raise InvalidValue(f"time is out of range: {text!a}") from error


def _ago(text: str) -> dt.timedelta:
    try:
        return parse_duration(text)
    except InvalidValue as error:
        raise InvalidValue(
            f"not a time: {text!a}", hint="for example 2026-01-31T12:00:00Z, or 1h for an hour ago"
        ) from error


def parse_serial(text: str) -> str:
    """Parse a serial in hex, as we and openssl print it (colons, capitals and `0x` are taken); give lower-case hex."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "")
    if not digits or len(digits) > 4 * _MAX_SERIAL or re.fullmatch("[0-9a-f]+", digits) is None:
        raise InvalidValue(f"not a serial in hex: {text[:_MAX_TEXT]!a}")
    number = int(digits, 16)
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not octets or len(octets) > _MAX_SERIAL:
        raise InvalidValue(f"serial must have 1 to {_MAX_SERIAL} bytes and not be zero: {text[:_MAX_TEXT]!a}")
    return octets.hex()


def parse_key(text: str) -> str:
    """Parse the SHA-256 of a public key (SubjectPublicKeyInfo) in hex, as `certs show` prints it; colons are taken."""
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if re.fullmatch("[0-9a-f]{64}", digits) is None:
        raise InvalidValue(
            f"not the SHA-256 of a public key in hex, 64 digits: {text[:_MAX_TEXT]!a}",
            hint="inborn certs show SERIAL prints a certificate's",
        )
    return digits


def parse_reason(text: str) -> str:
    """Parse the name of a reason, in capitals or not. Not checked: that it fits what is revoked."""
    for reason in (*LEAF_REASONS, *AUTHORITY_REASONS):
        if reason.lower() == text.strip().lower():
            return reason
    raise InvalidValue(f"not a reason: {text[:_MAX_TEXT]!a}", hint=f"one of {', '.join(LEAF_REASONS)}")


def count_of(number: int, noun: str) -> str:
    """`1 byte`, `2 bytes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
