"""The ledger: the table `issued`, and what bounds its scans.

`add` is the hot path: names are interned through a cache, and the row goes into a table that has no other index than
the rising serial.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn_ca.certificates.serial import serial_floor, serial_time
from inborn_ca.model.records import CertificateKind, Issued, SvidKind
from inborn_ca.store.interface.ledger import CertificateFilter
from inborn_ca.store.sqlite.alive import AliveQueries
from inborn_ca.store.sqlite.codec import from_micros, selectors, to_micros
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.interning import Names
from inborn_ca.store.sqlite.numbers import KIND_NUMBERS, KINDS, SVID_KIND_NUMBERS, SVID_KINDS

__all__ = ["LedgerReads", "LedgerWrites"]

ALIVE_PAGE = 1000  # rows: a read that is held open for longer keeps the log from being written back

_X509 = SvidKind.X509
_MILLISECOND = dt.timedelta(milliseconds=1)

# CROSS JOIN keeps SQLite from turning the order round: the ledger is scanned by serial, names are looked up.
_ISSUED = """
SELECT i.serial, d.spiffe_id, i.kind, i.key_hash, a.key_id, i.issued_at, i.not_after, e.entry_id, n.spiffe_id,
       s.selectors, i.svid_kind
FROM issued AS i
CROSS JOIN identity AS d ON d.id = i.identity
CROSS JOIN authority_name AS a ON a.id = i.authority
LEFT JOIN entry_name AS e ON e.id = i.entry
LEFT JOIN identity AS n ON n.id = i.node
LEFT JOIN selector_set AS s ON s.id = i.selectors
"""

_ADD = (
    "INSERT INTO issued (serial, identity, kind, key_hash, authority, issued_at, not_after, entry, node, selectors, "
    "svid_kind) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class LedgerReads(AliveQueries):
    """Reads of `interface.ledger`."""

    __slots__ = ()

    def get(self, serial: bytes) -> Issued | None:
        rows = self._issued("WHERE i.serial = ?", (serial,))
        return rows[0] if rows else None

    def select(self, where: CertificateFilter) -> list[Issued]:
        """By rising serial.

        A serial is instant and a time is a range of serials; by ID, node or entry what lies in that range is scanned:
        what can be alive where `alive_at` is given, all of the ledger where no time is. `after_serial` goes on from a
        page. `issued_after` is inclusive, `issued_before` exclusive; a certificate is alive through its last second.
        """
        life, lead = self.bounds()
        floor = b""
        conditions: list[tuple[str, object]] = []
        if where.issued_after is not None:
            floor = serial_floor(where.issued_after)
            conditions.append(("i.issued_at >= ?", to_micros(where.issued_after)))
        if where.issued_before is not None:
            # A serial's time may be ahead of the time of issue, by `lead` at most.
            conditions.append(("i.serial <= ?", serial_floor(where.issued_before + lead + _MILLISECOND)))
            conditions.append(("i.issued_at < ?", to_micros(where.issued_before)))
        if where.alive_at is not None:
            floor = max(floor, serial_floor(where.alive_at - life))
            conditions.append(("i.not_after >= ?", to_micros(where.alive_at)))
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

    def iter_alive(self, *, at: dt.datetime) -> Iterator[Issued]:
        """None of its pages is held open while the next one is asked for."""
        after = b""
        while True:
            page = self.select(CertificateFilter(alive_at=at, after_serial=after, limit=ALIVE_PAGE))
            yield from page
            if len(page) < ALIVE_PAGE:
                return
            after = page[-1].serial

    def bounds(self) -> tuple[dt.timedelta, dt.timedelta]:
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

        def selector_set(text: str) -> tuple[Selector, ...]:
            if text not in sets:
                sets[text] = selectors(text)
            return sets[text]

        return [
            Issued(
                serial=serial,
                spiffe_id=spiffe_id(identity),
                kind=KINDS[kind],
                key_hash=key_hash,
                authority=authority,
                issued_at=from_micros(issued_at),
                not_after=from_micros(not_after),
                entry_id=entry_id or "",
                node=None if node is None else spiffe_id(node),
                selectors=() if selector_text is None else selector_set(selector_text),
                svid_kind=SVID_KINDS[svid_kind],
            )
            for (
                serial, identity, kind, key_hash, authority, issued_at, not_after, entry_id, node, selector_text,
                svid_kind,
            ) in self._handle.rows(_ISSUED + tail, values)
        ]  # fmt: skip


class LedgerWrites(LedgerReads):
    """Writes of `interface.ledger`. Whose keys were issued for is noted for the end of the transaction."""

    __slots__ = ("_longest", "_names", "_touched")

    def __init__(self, handle: Handle, names: Names, touched: set[bytes]) -> None:
        super().__init__(handle)
        self._names = names
        self._touched = touched
        self._longest: tuple[int, int] | None = None

    def forget(self) -> None:
        """Another transaction begins, or a savepoint was undone."""
        self._longest = None

    def add(self, row: Issued) -> None:
        names = self._names
        time = serial_time(row.serial)
        issued_at, not_after = to_micros(row.issued_at), to_micros(row.not_after)
        self._handle.execute(
            _ADD,
            (
                row.serial,
                names.identity(str(row.spiffe_id)),
                KIND_NUMBERS[row.kind],
                row.key_hash,
                names.authority(row.authority),
                issued_at,
                not_after,
                names.entry(row.entry_id) if row.entry_id else None,
                None if row.node is None else names.identity(str(row.node)),
                names.selectors(row.selectors, time) if row.selectors else None,
                1 if row.svid_kind is _X509 else SVID_KIND_NUMBERS[row.svid_kind],
            ),
        )
        self._widen(not_after - issued_at, to_micros(time) - issued_at)
        if row.key_hash and row.kind in (CertificateKind.AGENT, CertificateKind.DAEMON):
            self._touched.add(row.key_hash)

    def _widen(self, life: int, lead: int) -> None:
        """Keep the bounds by which reads know what can be alive."""
        if self._longest is None:
            found = self._handle.row("SELECT longest_life, longest_lead FROM ledger")
            self._longest = (int(found[0]), int(found[1])) if found else (0, 0)
        if life > self._longest[0] or lead > self._longest[1]:
            self._longest = (max(life, self._longest[0]), max(lead, self._longest[1]))
            self._handle.execute("UPDATE ledger SET longest_life = ?, longest_lead = ?", self._longest)

    def last_end(self) -> int:
        """When all that has been issued until now has expired, at the latest; in microseconds."""
        last = self._handle.row("SELECT max(serial) FROM issued")
        life, _ = self.bounds()
        return to_micros(serial_time(last[0]) + life) if last and last[0] is not None else 0
