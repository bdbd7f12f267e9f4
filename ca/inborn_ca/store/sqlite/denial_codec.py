"""Rows and values of what denies: revocations, blocks, and expansions under way. No statement is run here."""

from __future__ import annotations

import json
from collections.abc import Mapping

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn_ca.model.records import Block, BlockKind, Expansion, RevocationRecord
from inborn_ca.store.sqlite.codec import Row, from_micros, json_text, micros_or_none, time_or_none, to_micros

__all__ = [
    "BLOCK_COLUMNS",
    "EXPANSION_COLUMNS",
    "REVOCATION_COLUMNS",
    "block",
    "block_row",
    "expansion",
    "expansion_row",
    "revocation",
    "revocation_row",
]

REVOCATION_COLUMNS = "seq, kind, value, cut_offs, reason, blocks, actor, note, revoked_at, alive_until, dropped_at"


def revocation_row(record: RevocationRecord) -> Row:
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


def revocation(row: Row) -> RevocationRecord:
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


EXPANSION_COLUMNS = (
    "kind, value, cut_offs, reason, actor, note, started_at, after_serial, revoked, revocation_seq, finished_at"
)


def expansion_row(record: Expansion) -> Row:
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


def expansion(row: Row) -> Expansion:
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


BLOCK_COLUMNS = "kind, value, since, actor, revocation_seq"


def block_row(record: Block) -> Row:
    return (str(record.kind), record.value, to_micros(record.since), record.actor, record.revocation_seq)


def block(row: Row) -> Block:
    kind, value, since, actor, revocation_seq = row
    return Block(
        kind=BlockKind(kind), value=value, since=from_micros(since), actor=actor, revocation_seq=revocation_seq
    )
