"""Reads. The same statements serve a handle that only reads and a transaction that reads its own writes."""

# ruff: noqa: S608 (what is put into statements are names of tables and columns from this package; values are bound)

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn_ca.certificates.serial import serial_floor
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.records import (
    Alarm,
    AuditRow,
    AuthorityRecord,
    Block,
    Expansion,
    Issued,
    Member,
    RequesterKey,
    RevocationRecord,
    Token,
)
from inborn_ca.model.registration_entry import Entry
from inborn_ca.store.interface import CertificateFilter
from inborn_ca.store.sqlite import codec, denial_codec
from inborn_ca.store.sqlite.alive import AliveQueries
from inborn_ca.store.sqlite.finding_table import FindingQueries
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["Queries", "SqliteReader"]

ALIVE_PAGE = 1000  # rows: a read that is held open for longer keeps the log from being written back

# CROSS JOIN keeps SQLite from turning the order round: the ledger is scanned by serial, names are looked up.
_ISSUED = """
SELECT i.serial, d.spiffe_id, i.kind, i.key_hash, a.key_id, i.issued_at, i.not_after, e.entry_id, n.spiffe_id,
       s.selectors
FROM issued AS i
CROSS JOIN identity AS d ON d.id = i.identity
CROSS JOIN authority_name AS a ON a.id = i.authority
LEFT JOIN entry_name AS e ON e.id = i.entry
LEFT JOIN identity AS n ON n.id = i.node
LEFT JOIN selector_set AS s ON s.id = i.selectors
"""


class Queries(AliveQueries, FindingQueries):
    """What `ports.Reader` asks for, on one handle."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def meta(self, key: str) -> str | None:
        row = self._handle.row("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def authorities(self) -> list[AuthorityRecord]:
        """In the order in which they were made."""
        rows = self._handle.rows(f"SELECT {codec.AUTHORITY_COLUMNS} FROM authority ORDER BY id")
        return [codec.authority(row) for row in rows]

    def tokens(self) -> list[Token]:
        rows = self._handle.rows(f"SELECT {codec.TOKEN_COLUMNS} FROM token ORDER BY created_at, id")
        return [codec.token(row) for row in rows]

    def token(self, token_id: bytes) -> Token | None:
        row = self._handle.row(f"SELECT {codec.TOKEN_COLUMNS} FROM token WHERE id = ?", (token_id,))
        return None if row is None else codec.token(row)

    def token_use(self, token_id: bytes, key_hash: bytes) -> SpiffeId | None:
        row = self._handle.row(
            "SELECT spiffe_id FROM token_use WHERE token_id = ? AND key_hash = ?", (token_id, key_hash)
        )
        return None if row is None else parse_spiffe_id(row[0])

    def count_token_uses(self, token_id: bytes) -> int:
        row = self._handle.row("SELECT count(*) FROM token_use WHERE token_id = ?", (token_id,))
        return int(row[0]) if row is not None else 0

    def members(self) -> list[Member]:
        rows = self._handle.rows(f"SELECT {codec.MEMBER_COLUMNS} FROM member ORDER BY spiffe_id")
        return [codec.member(row) for row in rows]

    def member(self, spiffe_id: SpiffeId) -> Member | None:
        row = self._handle.row(f"SELECT {codec.MEMBER_COLUMNS} FROM member WHERE spiffe_id = ?", (str(spiffe_id),))
        return None if row is None else codec.member(row)

    def requester(self, key_hash: bytes) -> RequesterKey | None:
        row = self._handle.row(f"SELECT {codec.REQUESTER_COLUMNS} FROM requester WHERE key_hash = ?", (key_hash,))
        return None if row is None else codec.requester(row)

    def entries(self) -> list[Entry]:
        rows = self._handle.rows(f"SELECT {codec.ENTRY_COLUMNS} FROM entry ORDER BY created_at, id")
        return [codec.entry(row) for row in rows]

    def entry(self, entry_id: str) -> Entry | None:
        row = self._handle.row(f"SELECT {codec.ENTRY_COLUMNS} FROM entry WHERE id = ?", (entry_id,))
        return None if row is None else codec.entry(row)

    def posture_policies(self) -> list[PosturePolicy]:
        """The trust domain's posture policies, oldest first."""
        rows = self._handle.rows(f"SELECT {codec.POSTURE_POLICY_COLUMNS} FROM posture_policy ORDER BY created_at, id")
        return [codec.posture_policy(row) for row in rows]

    def issued(self, serial: bytes) -> Issued | None:
        rows = self._issued("WHERE i.serial = ?", (serial,))
        return rows[0] if rows else None

    def certificates(self, where: CertificateFilter) -> list[Issued]:
        """By rising serial.

        A serial is instant and a time is a range of serials; by ID, node or entry what lies in that range is scanned:
        what can be alive where `alive_at` is given, all of the ledger where no time is. `after_serial` goes on from a
        page. `issued_after` is inclusive, `issued_before` exclusive; a certificate is alive through its last second.
        """
        life, lead = self._bounds()
        floor = b""
        conditions: list[tuple[str, object]] = []
        if where.issued_after is not None:
            floor = serial_floor(where.issued_after)
            conditions.append(("i.issued_at >= ?", codec.to_micros(where.issued_after)))
        if where.issued_before is not None:
            # A serial's time may be ahead of the time of issue, by `lead` at most.
            conditions.append(("i.serial <= ?", serial_floor(where.issued_before + lead + _MILLISECOND)))
            conditions.append(("i.issued_at < ?", codec.to_micros(where.issued_before)))
        if where.alive_at is not None:
            floor = max(floor, serial_floor(where.alive_at - life))
            conditions.append(("i.not_after >= ?", codec.to_micros(where.alive_at)))
        # One lower bound: of two, SQLite may take the one that excludes less.
        if where.after_serial >= floor:
            conditions.append(("i.serial > ?", where.after_serial))
        else:
            conditions.append(("i.serial >= ?", floor))
        if where.spiffe_id is not None:
            conditions.append(("i.identity = (SELECT id FROM identity WHERE spiffe_id = ?)", str(where.spiffe_id)))
        if where.node is not None:
            conditions.append(("i.node = (SELECT id FROM identity WHERE spiffe_id = ?)", str(where.node)))
        if where.entry_id:
            conditions.append(("i.entry = (SELECT id FROM entry_name WHERE entry_id = ?)", where.entry_id))
        text = " AND ".join(condition for condition, _ in conditions)
        values = tuple(value for _, value in conditions)
        return self._issued(f"WHERE {text} ORDER BY i.serial LIMIT ?", (*values, where.limit))

    def revocations(
        self, *, dropped: bool = False, after_seq: int = 0, limit: int | None = None
    ) -> list[RevocationRecord]:
        """By rising seq, from above `after_seq`; with `dropped` also those that are no longer in the list."""
        where = "seq > ?" if dropped else "seq > ? AND dropped_at IS NULL"
        rows = self._handle.rows(
            f"SELECT {denial_codec.REVOCATION_COLUMNS} FROM revocation WHERE {where} ORDER BY seq LIMIT ?",
            (after_seq, -1 if limit is None else limit),
        )
        return [denial_codec.revocation(row) for row in rows]

    def revocation_seq(self) -> int:
        """The length of the revocation log; what was dropped counts."""
        row = self._handle.row("SELECT max(seq) FROM revocation")
        return int(row[0] or 0) if row else 0

    def blocks(self) -> list[Block]:
        rows = self._handle.rows(f"SELECT {denial_codec.BLOCK_COLUMNS} FROM block ORDER BY kind, value")
        return [denial_codec.block(row) for row in rows]

    def audit(self, *, after_id: int, limit: int, action: str = "", newest: bool = False) -> list[AuditRow]:
        """Rows above `after_id` by rising id: the first `limit` of them, or with `newest` the last."""
        order = "DESC" if newest else "ASC"
        rows = self._handle.rows(
            f"SELECT {codec.AUDIT_COLUMNS} FROM audit WHERE id > ? AND (? = '' OR action = ?) "
            f"ORDER BY id {order} LIMIT ?",
            (after_id, action, action, limit),
        )
        return [codec.audit(row) for row in (reversed(rows) if newest else rows)]

    def alarms(self, *, acknowledged: bool = False) -> list[Alarm]:
        """The open ones by rising id; with `acknowledged` also those that are not open any more."""
        where = "" if acknowledged else "WHERE acknowledged_at IS NULL"
        rows = self._handle.rows(f"SELECT {codec.ALARM_COLUMNS} FROM alarm {where} ORDER BY id")
        return [codec.alarm(row) for row in rows]

    def expansion(self, expansion_id: int) -> Expansion | None:
        columns = denial_codec.EXPANSION_COLUMNS
        row = self._handle.row(f"SELECT id, {columns} FROM expansion WHERE id = ?", (expansion_id,))
        return None if row is None else denial_codec.expansion(row)

    def open_expansions(self) -> list[Expansion]:
        """Those that are not finished, oldest first."""
        columns = denial_codec.EXPANSION_COLUMNS
        rows = self._handle.rows(f"SELECT id, {columns} FROM expansion WHERE finished_at IS NULL ORDER BY id")
        return [denial_codec.expansion(row) for row in rows]

    def command_answer(self, request_id: bytes) -> bytes | None:
        row = self._handle.row("SELECT answer FROM command_answer WHERE request_id = ?", (request_id,))
        return None if row is None else bytes(row[0])

    def iter_alive(self, *, at: dt.datetime) -> Iterator[Issued]:
        """Every certificate that has not expired, by rising serial, page by page: none is held open in between."""
        after = b""
        while True:
            page = self.certificates(CertificateFilter(alive_at=at, after_serial=after, limit=ALIVE_PAGE))
            yield from page
            if len(page) < ALIVE_PAGE:
                return
            after = page[-1].serial

    def _bounds(self) -> tuple[dt.timedelta, dt.timedelta]:
        """The longest life of a certificate ever issued, and the furthest that a serial was ahead of the issue."""
        row = self._handle.row("SELECT longest_life, longest_lead FROM ledger")
        life, lead = row if row is not None else (0, 0)
        return dt.timedelta(microseconds=life), dt.timedelta(microseconds=lead)

    def _issued(self, tail: str, values: tuple[object, ...]) -> list[Issued]:
        ids: dict[str, SpiffeId] = {}
        sets: dict[str, tuple[Selector, ...]] = {}

        def spiffe_id(text: str) -> SpiffeId:
            if text not in ids:
                ids[text] = parse_spiffe_id(text)
            return ids[text]

        def selectors(text: str) -> tuple[Selector, ...]:
            if text not in sets:
                sets[text] = codec.selectors(text)
            return sets[text]

        return [
            Issued(
                serial=serial,
                spiffe_id=spiffe_id(identity),
                kind=codec.KINDS[kind],
                key_hash=key_hash,
                authority=authority,
                issued_at=codec.from_micros(issued_at),
                not_after=codec.from_micros(not_after),
                entry_id=entry_id or "",
                node=None if node is None else spiffe_id(node),
                selectors=() if selector_text is None else selectors(selector_text),
            )
            for (
                serial, identity, kind, key_hash, authority, issued_at, not_after, entry_id, node, selector_text
            ) in self._handle.rows(_ISSUED + tail, values)
        ]  # fmt: skip


_MILLISECOND = dt.timedelta(milliseconds=1)


class SqliteReader(Queries):
    """A handle of its own that cannot write, for one thread at a time; closed when nobody holds it any more."""

    def close(self) -> None:
        self._handle.close()

    def __del__(self) -> None:
        self._handle.close()
