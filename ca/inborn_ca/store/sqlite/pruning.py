"""Deleting what has been kept long enough, at most so many rows at a time.

A row of the ledger goes a retention after its certificate has expired. Rows lie by serial, and lives differ, so an
old row may have to stay while a younger one goes; what is scanned ends where nothing can have expired yet.
"""

# ruff: noqa: S608 (what is put into statements are names of tables and columns from this package; values are bound)

from __future__ import annotations

import datetime as dt

from inborn_ca.certificates.serial import serial_floor
from inborn_ca.store.sqlite import codec
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["prune"]

_MILLISECOND = dt.timedelta(milliseconds=1)
_DAY = 24 * 3600 * 1_000_000  # microseconds

_LOOKED_AT = 10_000  # rows of the audit trail: milliseconds


def prune(
    handle: Handle,
    *,
    issued_expired_before: int,
    audit_before: int,
    bounds: tuple[dt.timedelta, dt.timedelta],
    limit: int,
) -> int:
    """Delete at most `limit` rows and return how many. `bounds` are the longest life and the longest lead of a serial.

    Names come last, in the rounds in which no row of the ledger is left to delete that could have used them.
    """
    life, lead = bounds
    end = serial_floor(codec.from_micros(issued_expired_before) + lead + _MILLISECOND)  # all serials of that one
    deleted = _delete(
        handle,
        "DELETE FROM issued WHERE serial IN "
        "(SELECT serial FROM issued WHERE serial < ? AND not_after < ? ORDER BY serial LIMIT ?)",
        (end, issued_expired_before, limit),
    )
    if deleted < limit:
        deleted += _prune_audit(handle, audit_before, limit - deleted)
    used_before = (issued_expired_before - 1 - life // dt.timedelta(microseconds=1)) // _DAY
    for table, key, condition, value in (
        ("requester", "key_hash", "alive_until < ?", issued_expired_before),
        ("selector_set", "id", "used_day < ?", used_before),
        (
            "token",
            "id",
            "expires_at < ? AND NOT EXISTS (SELECT 1 FROM member "
            "WHERE attested_subject = lower(hex(token.id)) AND attested_by = 'join_token')",
            issued_expired_before,
        ),
    ):
        if deleted < limit:
            deleted += _delete(
                handle,
                f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT ?)",
                (value, limit - deleted),
            )
    return deleted


def _prune_audit(handle: Handle, before: int, limit: int) -> int:
    """The tables refuse to delete what is not below the mark, and without one."""
    handle.execute("INSERT INTO audit_pruning VALUES (?)", (before,))
    # By id: the trail is in the order of time, but for a clock that was wrong. So the oldest rows are looked at, and
    # enough of them that some from the future do not keep the others.
    deleted = _delete(
        handle,
        "DELETE FROM audit WHERE id IN "
        "(SELECT id FROM (SELECT id, at FROM audit ORDER BY id LIMIT ?) WHERE at < ? LIMIT ?)",
        (limit + _LOOKED_AT, before, limit),
    )
    if deleted < limit:
        deleted += _delete(
            handle,
            "DELETE FROM alarm WHERE id IN (SELECT id FROM alarm WHERE acknowledged_at < ? ORDER BY id LIMIT ?)",
            (before, limit - deleted),
        )
    handle.execute("DELETE FROM audit_pruning")
    return deleted


def _delete(handle: Handle, sql: str, values: tuple[object, ...]) -> int:
    return max(0, handle.execute(sql, values).rowcount)
