"""What is alive and matches a target: counted before a revocation, walked through by an expansion.

The ledger has no index but its serial, so each is a scan of what can be alive, with comparisons of integers only.
"""

# ruff: noqa: S608 (what is put into statements are conditions from this module; values are bound)

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn.errors import InternalError
from inborn_ca.certificates.serial import serial_floor
from inborn_ca.model.records import BlockKind, CertificateKind
from inborn_ca.store.interface.ledger import Alive
from inborn_ca.store.sqlite.codec import from_micros, to_micros
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.numbers import KIND_NUMBERS

__all__ = ["AliveQueries"]

EXAMPLES = 20  # identities that a preview shows

_HOLDERS = (KIND_NUMBERS[CertificateKind.AGENT], KIND_NUMBERS[CertificateKind.DAEMON])


class AliveQueries:
    """What of the ledger's port asks for what is alive."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def count_alive(self, kind: BlockKind, value: str, *, at: dt.datetime) -> Alive:
        """What a target hits now."""
        return self._count(*_matches(kind, value), at)

    def count_alive_of_authority(self, key_id: bytes, *, at: dt.datetime) -> Alive:
        """What an issuing authority's revocation hits now."""
        return self._count("i.authority = (SELECT id FROM authority_name WHERE key_id = ?)", (key_id,), at)

    def holders_of_authority(self, key_id: bytes, *, at: dt.datetime) -> list[SpiffeId]:
        """Agents and daemons that have certificates alive for themselves, all of them of this authority."""
        rows = self._handle.rows(
            "SELECT d.spiffe_id FROM issued AS i JOIN identity AS d ON d.id = i.identity "
            "WHERE i.serial >= ? AND i.not_after >= ? AND i.kind IN (?, ?) GROUP BY d.id "
            "HAVING min(i.authority IS (SELECT id FROM authority_name WHERE key_id = ?)) = 1 ORDER BY d.spiffe_id",
            (self._floor(at), to_micros(at), *_HOLDERS, key_id),
        )
        return [parse_spiffe_id(text) for (text,) in rows]

    def ends_of_holders(self, *, at: dt.datetime) -> dict[SpiffeId, dt.datetime]:
        """Each agent and daemon that has an SVID alive for itself, and when the last of them expires."""
        rows = self._handle.rows(
            "SELECT d.spiffe_id, e.until FROM (SELECT i.identity, max(i.not_after) AS until FROM issued AS i "
            "WHERE i.serial >= ? AND i.not_after >= ? AND i.kind IN (?, ?) GROUP BY i.identity) AS e "
            "JOIN identity AS d ON d.id = e.identity",
            (self._floor(at), to_micros(at), *_HOLDERS),
        )
        return {parse_spiffe_id(text): from_micros(until) for text, until in rows}

    def _count(self, condition: str, values: tuple[object, ...], at: dt.datetime) -> Alive:
        scope = f"FROM issued AS i WHERE i.serial >= ? AND i.not_after >= ? AND {condition}"
        bound = (self._floor(at), to_micros(at), *values)
        row = self._handle.row(f"SELECT count(*), count(DISTINCT i.identity), count(DISTINCT i.node) {scope}", bound)
        certificates, identities, nodes = row if row is not None else (0, 0, 0)
        names = "SELECT spiffe_id FROM identity WHERE id IN (SELECT DISTINCT i.identity"
        examples = self._handle.rows(f"{names} {scope}) ORDER BY spiffe_id LIMIT {EXAMPLES}", bound)
        holders = self._handle.rows(f"{names} {scope} AND i.kind IN (?, ?))", (*bound, *_HOLDERS))
        return Alive(
            certificates=certificates,
            identities=identities,
            nodes=nodes,
            examples=tuple(parse_spiffe_id(text) for (text,) in examples),
            holders=tuple(parse_spiffe_id(text) for (text,) in holders),
        )

    def alive_serials(
        self,
        kind: BlockKind,
        value: str,
        cut_offs: Mapping[bytes, bytes | None],
        *,
        at: dt.datetime,
        after: bytes,
        limit: int,
    ) -> list[tuple[bytes, bytes]]:
        """(serial, authority) by rising serial, from above `after`."""
        condition, values = _matches(kind, value)
        rows = self._handle.rows(
            "SELECT i.serial, a.key_id FROM issued AS i CROSS JOIN authority_name AS a ON a.id = i.authority "
            f"WHERE i.serial > ? AND i.not_after >= ? AND {condition} ORDER BY i.serial LIMIT ?",
            (max(after, self._floor(at)), to_micros(at), *values, limit),
        )
        return [(s, a) for s, a in rows if a in cut_offs and _is_at_or_below(s, cut_offs[a])]

    def _floor(self, at: dt.datetime) -> bytes:
        """Below this serial nothing is alive."""
        row = self._handle.row("SELECT longest_life FROM ledger")
        return serial_floor(at - dt.timedelta(microseconds=row[0] if row is not None else 0))


def _matches(kind: BlockKind, value: str) -> tuple[str, tuple[object, ...]]:
    match kind:
        case BlockKind.ID:
            return "i.identity = (SELECT id FROM identity WHERE spiffe_id = ?)", (value,)
        case BlockKind.ID_PREFIX:  # "0" is the character after "/"
            below = "spiffe_id = ? OR (spiffe_id > ? AND spiffe_id < ?)"
            return f"i.identity IN (SELECT id FROM identity WHERE {below})", (value, f"{value}/", f"{value}0")
        case BlockKind.KEY:
            return "i.key_hash = ?", (bytes.fromhex(value),)
        case BlockKind.ENTRY:
            return "i.entry = (SELECT id FROM entry_name WHERE entry_id = ?)", (value,)
        case BlockKind.NODE:
            return "i.node = (SELECT id FROM identity WHERE spiffe_id = ?)", (value,)
        case BlockKind.SELECTOR:
            sets = "SELECT s.id FROM selector_set AS s, json_each(s.selectors) AS e WHERE e.value = ?"
            return f"i.selectors IN ({sets})", (value,)
    raise InternalError(f"no query for {kind}")


def _is_at_or_below(serial: bytes, limit: bytes | None) -> bool:
    return limit is None or int.from_bytes(serial, "big") <= int.from_bytes(limit, "big")
