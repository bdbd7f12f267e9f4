"""The little DER that is written by hand where the library is too slow (X.690)."""

from __future__ import annotations

import datetime as dt

__all__ = ["ECDSA_WITH_SHA256", "bit_string", "length", "sequence", "utc_time"]

ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758 3.2: no parameters


def length(octets: int) -> bytes:
    """A length (8.1.3)."""
    if octets < 0x80:
        return bytes((octets,))
    encoded = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(encoded),)) + encoded


def sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"\x30" + length(len(body)) + body


def bit_string(octets: bytes) -> bytes:
    """One of whole octets (8.6)."""
    return b"\x03" + length(len(octets) + 1) + b"\0" + octets


def utc_time(at: dt.datetime) -> bytes:
    """The content of a UTCTime; the year must be of 1950 to 2049 (RFC 5280 4.1.2.5.1)."""
    return f"{at.year % 100:02d}{at.month:02d}{at.day:02d}{at.hour:02d}{at.minute:02d}{at.second:02d}Z".encode()
