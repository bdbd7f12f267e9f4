"""Registration entries and posture policies: the tables `entry` and `posture_policy`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt
import json

from inborn._internal.selectors.demand import parse_demand
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import AlreadyExistsError
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch
from inborn_ca.store.sqlite import statements
from inborn_ca.store.sqlite.codec import MICRO, Row, from_micros, json_text, selectors, selectors_text, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["EntryReads", "EntryWrites"]

_COLUMNS = (
    "id, spiffe_id, selectors, node_kind, node_value, ttl, dns_names, common_name, hint, revoke_when_lost, "
    "revision, created_at, updated_at"
)
_POLICY_COLUMNS = "id, prefix, demands, note, created_at, created_by"


class EntryReads:
    """Reads of `interface.entries`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def all(self) -> list[Entry]:
        return [_entry(row) for row in self._handle.rows(f"SELECT {_COLUMNS} FROM entry ORDER BY created_at, id")]

    def get(self, entry_id: str) -> Entry | None:
        row = self._handle.row(f"SELECT {_COLUMNS} FROM entry WHERE id = ?", (entry_id,))
        return None if row is None else _entry(row)

    def policies(self) -> list[PosturePolicy]:
        rows = self._handle.rows(f"SELECT {_POLICY_COLUMNS} FROM posture_policy ORDER BY created_at, id")
        return [_policy(row) for row in rows]


class EntryWrites(EntryReads):
    """Writes of `interface.entries`."""

    __slots__ = ()

    def add(self, entry: Entry) -> None:
        if self.get(entry.id) is not None:
            raise AlreadyExistsError(f"entry {entry.id} exists already")
        statements.insert(self._handle, "entry", _COLUMNS, _entry_row(entry))

    def update(self, entry: Entry) -> None:
        id_, *values = _entry_row(entry)
        columns = _COLUMNS.split(", ")[1:]
        statements.update(self._handle, "entry", columns, values, "id", id_, f"entry {entry.id}")

    def delete(self, entry_id: str) -> None:
        statements.delete(self._handle, "entry", "id", entry_id, f"entry {entry_id[:80]!a}")

    def add_policy(self, policy: PosturePolicy) -> None:
        statements.insert(self._handle, "posture_policy", _POLICY_COLUMNS, _policy_row(policy))

    def delete_policy(self, policy_id: str) -> None:
        statements.delete(self._handle, "posture_policy", "id", policy_id, f"posture policy {policy_id[:80]!a}")


def _entry_row(record: Entry) -> Row:
    return (
        record.id,
        str(record.spiffe_id),
        selectors_text(sorted(record.selectors)),
        str(record.node.kind),
        record.node.value,
        record.ttl // MICRO,
        json_text(record.dns_names),
        record.common_name,
        record.hint,
        int(record.revoke_when_lost),
        record.revision,
        to_micros(record.created_at),
        to_micros(record.updated_at),
    )


def _entry(row: Row) -> Entry:
    (
        id_, spiffe_id, selector_text, node_kind, node_value, ttl, dns_names, common_name, hint,
        revoke_when_lost, revision, created_at, updated_at,
    ) = row  # fmt: skip
    return Entry(
        id=id_,
        spiffe_id=parse_spiffe_id(spiffe_id),
        selectors=frozenset(selectors(selector_text)),
        node=NodeMatch(kind=NodeKind(node_kind), value=node_value),
        ttl=dt.timedelta(microseconds=ttl),
        dns_names=tuple(json.loads(dns_names)),
        common_name=common_name,
        hint=hint,
        revoke_when_lost=bool(revoke_when_lost),
        revision=revision,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
    )


def _policy_row(record: PosturePolicy) -> Row:
    return (
        record.id,
        str(record.prefix),
        json_text([str(demand) for demand in record.demands]),
        record.note,
        to_micros(record.created_at),
        record.created_by,
    )


def _policy(row: Row) -> PosturePolicy:
    id_, prefix, demands, note, created_at, created_by = row
    return PosturePolicy(
        id=id_,
        prefix=parse_spiffe_id(prefix),
        demands=tuple(parse_demand(text) for text in json.loads(demands)),
        note=note,
        created_at=from_micros(created_at),
        created_by=created_by,
    )
