"""The revocation log, expansions, answers to commands: the tables `revocation`, `expansion` and `command_answer`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn.errors import InternalError
from inborn_ca.model.records import BlockKind, Expansion, RevocationRecord
from inborn_ca.store.sqlite import statements
from inborn_ca.store.sqlite.codec import Row, from_micros, json_text, micros_or_none, time_or_none, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["RevocationReads", "RevocationWrites"]

_COLUMNS = "seq, kind, value, cut_offs, reason, blocks, actor, note, revoked_at, alive_until, dropped_at"
_EXPANSION_COLUMNS = (
    "kind, value, cut_offs, reason, actor, note, started_at, after_serial, revoked, revocation_seq, finished_at"
)


class RevocationReads:
    """Reads of `interface.revocations`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def log(self, *, dropped: bool = False, after_seq: int = 0, limit: int | None = None) -> list[RevocationRecord]:
        where = "seq > ?" if dropped else "seq > ? AND dropped_at IS NULL"
        rows = self._handle.rows(
            f"SELECT {_COLUMNS} FROM revocation WHERE {where} ORDER BY seq LIMIT ?",
            (after_seq, -1 if limit is None else limit),
        )
        return [_revocation(row) for row in rows]

    def seq(self) -> int:
        row = self._handle.row("SELECT max(seq) FROM revocation")
        return int(row[0] or 0) if row else 0

    def expansion(self, expansion_id: int) -> Expansion | None:
        row = self._handle.row(f"SELECT id, {_EXPANSION_COLUMNS} FROM expansion WHERE id = ?", (expansion_id,))
        return None if row is None else _expansion(row)

    def open_expansions(self) -> list[Expansion]:
        rows = self._handle.rows(
            f"SELECT id, {_EXPANSION_COLUMNS} FROM expansion WHERE finished_at IS NULL ORDER BY id"
        )
        return [_expansion(row) for row in rows]

    def answer(self, request_id: bytes) -> bytes | None:
        row = self._handle.row("SELECT answer FROM command_answer WHERE request_id = ?", (request_id,))
        return None if row is None else bytes(row[0])


class RevocationWrites(RevocationReads):
    """Writes of `interface.revocations`."""

    __slots__ = ()

    def add(self, row: RevocationRecord) -> None:
        expected = self.seq() + 1
        if row.seq != expected:
            raise InternalError(f"revocation {row.seq} does not follow on the log, which goes on with {expected}")
        statements.insert(self._handle, "revocation", _COLUMNS, _revocation_row(row))

    def drop_expired(self, at: dt.datetime, *, limit: int) -> list[int]:
        micros = to_micros(at)
        rows = self._handle.rows(
            "SELECT seq FROM revocation WHERE dropped_at IS NULL AND alive_until < ? ORDER BY seq LIMIT ?",
            (micros, limit),
        )
        self._handle.execute_many("UPDATE revocation SET dropped_at = ? WHERE seq = ?", [(micros, s) for (s,) in rows])
        return [int(seq) for (seq,) in rows]

    def add_expansion(self, expansion: Expansion) -> int:
        statements.insert(self._handle, "expansion", _EXPANSION_COLUMNS, _expansion_row(expansion))
        row = self._handle.row("SELECT last_insert_rowid()")
        return int(row[0]) if row is not None else 0

    def update_expansion(self, expansion: Expansion) -> None:
        self._handle.execute(
            "UPDATE expansion SET after_serial = ?, revoked = ?, revocation_seq = ?, finished_at = ? WHERE id = ?",
            (
                expansion.after_serial,
                expansion.revoked,
                expansion.revocation_seq,
                micros_or_none(expansion.finished_at),
                expansion.id,
            ),
        )

    def add_answer(self, request_id: bytes, answer: bytes, at: dt.datetime) -> None:
        self._handle.execute("INSERT INTO command_answer VALUES (?, ?, ?)", (request_id, answer, to_micros(at)))


def _revocation_row(record: RevocationRecord) -> Row:
    return (
        record.seq,
        record.kind.value,
        record.value,
        _cut_offs_text(record.cut_offs),
        record.reason,
        int(record.blocks),
        record.actor,
        record.note,
        to_micros(record.revoked_at),
        to_micros(record.alive_until),
        micros_or_none(record.dropped_at),
    )


def _revocation(row: Row) -> RevocationRecord:
    seq, kind, value, cut_offs, reason, blocks, actor, note, revoked_at, alive_until, dropped_at = row
    return RevocationRecord(
        seq=seq,
        kind=RevocationKind(kind),
        value=value,
        cut_offs=_cut_offs(cut_offs),
        reason=reason,
        blocks=bool(blocks),
        actor=actor,
        note=note,
        revoked_at=from_micros(revoked_at),
        alive_until=from_micros(alive_until),
        dropped_at=time_or_none(dropped_at),
    )


def _cut_offs_text(cut_offs: Mapping[bytes, bytes | None]) -> str:
    return json_text({key.hex(): None if serial is None else serial.hex() for key, serial in cut_offs.items()})


def _cut_offs(text: str) -> dict[bytes, bytes | None]:
    return {
        bytes.fromhex(key): None if serial is None else bytes.fromhex(serial)
        for key, serial in json.loads(text).items()
    }


def _expansion_row(record: Expansion) -> Row:
    return (
        str(record.kind),
        record.value,
        _cut_offs_text(record.cut_offs),
        record.reason,
        record.actor,
        record.note,
        to_micros(record.started_at),
        record.after_serial,
        record.revoked,
        record.revocation_seq,
        micros_or_none(record.finished_at),
    )


def _expansion(row: Row) -> Expansion:
    (
        id_, kind, value, cut_offs, reason, actor, note, started_at, after_serial, revoked, revocation_seq, finished_at
    ) = row  # fmt: skip
    return Expansion(
        id=id_,
        kind=BlockKind(kind),
        value=value,
        cut_offs=_cut_offs(cut_offs),
        reason=reason,
        actor=actor,
        note=note,
        started_at=from_micros(started_at),
        after_serial=after_serial,
        revoked=revoked,
        revocation_seq=revocation_seq,
        finished_at=time_or_none(finished_at),
    )
