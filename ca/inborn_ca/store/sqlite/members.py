"""Who is enrolled, and the keys that sign for them: the tables `member` and `requester`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import json
from collections.abc import Iterable

from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn_ca.model.records import Member, MemberKind, RequesterKey
from inborn_ca.model.request_numbers import WINDOW_OCTETS
from inborn_ca.store.errors import ConstraintBroken
from inborn_ca.store.sqlite.codec import (
    Row,
    from_micros,
    json_text,
    micros_or_none,
    selectors,
    selectors_text,
    time_or_none,
    to_micros,
)
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.statements import marks

__all__ = ["MemberReads", "MemberWrites"]

_COLUMNS = "spiffe_id, kind, enrolled_at, attested_by, attested_subject, name, groups, selectors, banned_at, stopped_at"
_REQUESTER_COLUMNS = "key_hash, spki, spiffe_id, last_number, used_numbers, successor"


class MemberReads:
    """Reads of `interface.members`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def all(self) -> list[Member]:
        return [_member(row) for row in self._handle.rows(f"SELECT {_COLUMNS} FROM member ORDER BY spiffe_id")]

    def get(self, spiffe_id: SpiffeId) -> Member | None:
        row = self._handle.row(f"SELECT {_COLUMNS} FROM member WHERE spiffe_id = ?", (str(spiffe_id),))
        return None if row is None else _member(row)

    def find_agent(self, name: str) -> Member | None:
        row = self._handle.row(
            f"SELECT {_COLUMNS} FROM member WHERE name = ? AND kind = ? ORDER BY spiffe_id LIMIT 1",
            (name, str(MemberKind.AGENT)),
        )
        return None if row is None else _member(row)

    def requester(self, key_hash: bytes) -> RequesterKey | None:
        row = self._handle.row(f"SELECT {_REQUESTER_COLUMNS} FROM requester WHERE key_hash = ?", (key_hash,))
        return None if row is None else _requester(row)


class MemberWrites(MemberReads):
    """Writes of `interface.members`. Which keys were written is noted for the end of the transaction."""

    __slots__ = ("_touched",)

    def __init__(self, handle: Handle, touched: set[bytes]) -> None:
        super().__init__(handle)
        self._touched = touched

    def put(self, member: Member) -> None:
        columns = _COLUMNS.split(", ")
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        self._handle.execute(
            f"INSERT INTO member ({_COLUMNS}) VALUES ({marks(columns)}) "
            f"ON CONFLICT (spiffe_id) DO UPDATE SET {updates}",
            _member_row(member),
        )

    def put_requester(self, requester: RequesterKey) -> None:
        cursor = self._handle.execute(
            f"INSERT INTO requester ({_REQUESTER_COLUMNS}, alive_until) VALUES (?, ?, ?, ?, ?, ?, 0) "
            "ON CONFLICT (key_hash) DO UPDATE SET spiffe_id = excluded.spiffe_id, "
            "last_number = excluded.last_number, used_numbers = excluded.used_numbers, successor = excluded.successor "
            "WHERE excluded.last_number >= last_number AND (successor IS NULL OR successor IS excluded.successor)",
            _requester_row(requester),
        )
        if not cursor.rowcount:
            raise ConstraintBroken(
                f"requester {requester.key_hash.hex()}: its number may not fall and its successor may not change"
            )
        self._touched.add(requester.key_hash)

    def use_numbers(self, used: Iterable[tuple[bytes, int, int]]) -> None:
        self._handle.execute_many(
            "UPDATE requester SET last_number = ?, used_numbers = ? WHERE key_hash = ?",
            [(last, bits.to_bytes(WINDOW_OCTETS, "big"), key_hash) for key_hash, last, bits in used],
        )

    def keep_touched(self, until: int) -> None:
        """The keys that were written are kept until this time at least, in microseconds."""
        self._handle.execute_many(
            "UPDATE requester SET alive_until = max(alive_until, ?) WHERE key_hash = ?",
            [(until, key_hash) for key_hash in self._touched],
        )


def _member_row(record: Member) -> Row:
    return (
        str(record.spiffe_id),
        str(record.kind),
        to_micros(record.enrolled_at),
        record.attested_by,
        record.attested_subject,
        record.name,
        json_text(record.groups),
        selectors_text(record.selectors),
        micros_or_none(record.banned_at),
        micros_or_none(record.stopped_at),
    )


def _member(row: Row) -> Member:
    spiffe_id, kind, enrolled_at, attested_by, subject, name, groups, selectors_json, banned_at, stopped_at = row
    return Member(
        spiffe_id=parse_spiffe_id(spiffe_id),
        kind=MemberKind(kind),
        enrolled_at=from_micros(enrolled_at),
        attested_by=attested_by,
        attested_subject=subject,
        name=name,
        groups=tuple(json.loads(groups)),
        selectors=selectors(selectors_json),
        banned_at=time_or_none(banned_at),
        stopped_at=time_or_none(stopped_at),
    )


def _requester_row(record: RequesterKey) -> Row:
    return (
        record.key_hash,
        record.spki,
        str(record.spiffe_id),
        record.last_number,
        record.used_numbers.to_bytes(WINDOW_OCTETS, "big"),
        record.successor,
    )


def _requester(row: Row) -> RequesterKey:
    key_hash, spki, spiffe_id, last_number, used_numbers, successor = row
    return RequesterKey(
        key_hash=key_hash,
        spki=spki,
        spiffe_id=parse_spiffe_id(spiffe_id),
        last_number=last_number,
        used_numbers=int.from_bytes(used_numbers, "big"),
        successor=successor,
    )
