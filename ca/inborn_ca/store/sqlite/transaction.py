"""Writes. Everything between `begin` and `commit` of the store is one durable commit, or nothing.

`add_issued` is the hot path: names are interned through a cache, and the row goes into a table that has no other
index than the rising serial.
"""

# ruff: noqa: S608 (what is put into statements are names of tables and columns from this package; values are bound)

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import AlreadyExistsError, InternalError, NotFoundError
from inborn_ca.certificates.serial import serial_time
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.records import (
    Alarm,
    AuditRow,
    AuthorityRecord,
    Block,
    BlockKind,
    CertificateKind,
    Expansion,
    Issued,
    Member,
    RequesterKey,
    RevocationRecord,
    Token,
)
from inborn_ca.model.registration_entry import Entry
from inborn_ca.model.request_numbers import WINDOW_OCTETS
from inborn_ca.store.errors import ConstraintBroken
from inborn_ca.store.sqlite import codec, denial_codec
from inborn_ca.store.sqlite.finding_table import FindingWrites
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.interning import Names
from inborn_ca.store.sqlite.pruning import prune
from inborn_ca.store.sqlite.reader import Queries

__all__ = ["SqliteTransaction"]

_ADD_ISSUED = "INSERT INTO issued VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteTransaction(Queries, FindingWrites):
    """What `ports.Transaction` asks for. Made by the store; of no use once its block has ended."""

    def __init__(self, handle: Handle, names: Names) -> None:
        super().__init__(handle)
        self._names = names
        self._depth = 0
        self._touched_requesters: set[bytes] = set()
        self._longest: tuple[int, int] | None = None
        self._block_kinds: set[str] | None = None

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What happens inside is undone if it raises; the transaction goes on.

        Not after an error that has undone the whole transaction: then everything that follows raises that error.
        """
        self._depth += 1
        name = f"inner_{self._depth}"
        self._handle.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            if not self._handle.is_lost:
                self._handle.execute(f"ROLLBACK TO {name}")
                self._handle.execute(f"RELEASE {name}")
            self._names.forget_new()
            self._longest = self._block_kinds = None
            raise
        else:
            self._handle.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    def finish(self) -> None:
        """Write what belongs to the transaction as a whole. Called by the store before it commits."""
        if self._touched_requesters:
            bound = self._last_end()
            self._handle.execute_many(
                "UPDATE requester SET alive_until = max(alive_until, ?) WHERE key_hash = ?",
                [(bound, key_hash) for key_hash in self._touched_requesters],
            )

    def set_meta(self, key: str, value: str) -> None:
        self._handle.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )

    # Authorities.

    def add_authority(self, authority: AuthorityRecord) -> None:
        self._insert("authority", codec.AUTHORITY_COLUMNS, codec.authority_row(authority))

    def update_authority(self, authority: AuthorityRecord) -> None:
        """Raises `NotFoundError`."""
        key_id, *values = codec.authority_row(authority)
        columns = codec.AUTHORITY_COLUMNS.split(", ")[1:]
        self._update("authority", columns, values, "key_id", key_id, f"authority {authority.key_id.hex()}")

    def remove_authority(self, key_id: bytes) -> None:
        """Forget an authority; what it issued keeps its name in the ledger. Raises `NotFoundError`."""
        self._delete("authority", "key_id", key_id, f"authority {key_id.hex()}")

    # Who may enroll, and who has.

    def add_token(self, token: Token) -> None:
        self._insert("token", codec.TOKEN_COLUMNS, codec.token_row(token))

    def withdraw_token(self, token_id: bytes, at: dt.datetime) -> None:
        """The first time counts. Raises `NotFoundError`."""
        cursor = self._handle.execute(
            "UPDATE token SET withdrawn_at = coalesce(withdrawn_at, ?) WHERE id = ?", (codec.to_micros(at), token_id)
        )
        if not cursor.rowcount:
            raise NotFoundError(f"no token {token_id.hex()}")

    def add_token_use(self, token_id: bytes, key_hash: bytes, spiffe_id: SpiffeId, at: dt.datetime) -> None:
        """Raises `ConstraintBroken` beyond the token's last use, for an unknown token, and for the same key again."""
        self._handle.execute(
            "INSERT INTO token_use VALUES (?, ?, ?, ?)", (token_id, key_hash, str(spiffe_id), codec.to_micros(at))
        )

    def put_member(self, member: Member) -> None:
        """Add it, or replace what is known of the same ID."""
        columns = codec.MEMBER_COLUMNS.split(", ")
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        self._handle.execute(
            f"INSERT INTO member ({codec.MEMBER_COLUMNS}) VALUES ({_marks(columns)}) "
            f"ON CONFLICT (spiffe_id) DO UPDATE SET {updates}",
            codec.member_row(member),
        )

    def put_requester(self, requester: RequesterKey) -> None:
        """Add it, or replace what is known of the same key.

        Raises `ConstraintBroken`, whatever a service says, if a number were to fall or a successor to change.
        """
        cursor = self._handle.execute(
            f"INSERT INTO requester ({codec.REQUESTER_COLUMNS}, alive_until) VALUES (?, ?, ?, ?, ?, ?, 0) "
            "ON CONFLICT (key_hash) DO UPDATE SET spiffe_id = excluded.spiffe_id, "
            "last_number = excluded.last_number, used_numbers = excluded.used_numbers, successor = excluded.successor "
            "WHERE excluded.last_number >= last_number AND (successor IS NULL OR successor IS excluded.successor)",
            codec.requester_row(requester),
        )
        if not cursor.rowcount:
            raise ConstraintBroken(
                f"requester {requester.key_hash.hex()}: its number may not fall and its successor may not change"
            )
        self._touched_requesters.add(requester.key_hash)

    # Entries.

    def use_numbers(self, used: Iterable[tuple[bytes, int, int]]) -> None:
        self._handle.execute_many(
            "UPDATE requester SET last_number = ?, used_numbers = ? WHERE key_hash = ?",
            [(last, bits.to_bytes(WINDOW_OCTETS, "big"), key_hash) for key_hash, last, bits in used],
        )

    def add_entry(self, entry: Entry) -> None:
        """Raises `AlreadyExistsError`. Duplicates under another id are the service's to find."""
        if self.entry(entry.id) is not None:
            raise AlreadyExistsError(f"entry {entry.id} exists already")
        self._insert("entry", codec.ENTRY_COLUMNS, codec.entry_row(entry))

    def update_entry(self, entry: Entry) -> None:
        """Raises `NotFoundError`."""
        id_, *values = codec.entry_row(entry)
        self._update("entry", codec.ENTRY_COLUMNS.split(", ")[1:], values, "id", id_, f"entry {entry.id}")

    def delete_entry(self, entry_id: str) -> None:
        """Raises `NotFoundError`."""
        self._delete("entry", "id", entry_id, f"entry {entry_id[:80]!a}")

    def add_posture_policy(self, policy: PosturePolicy) -> None:
        self._insert("posture_policy", codec.POSTURE_POLICY_COLUMNS, codec.posture_policy_row(policy))

    def delete_posture_policy(self, policy_id: str) -> None:
        """Raises `NotFoundError`."""
        self._delete("posture_policy", "id", policy_id, f"posture policy {policy_id[:80]!a}")

    # The ledger.

    def add_issued(self, row: Issued) -> None:
        """Raises `ConstraintBroken` (an `InternalError`) if the serial is there already."""
        names = self._names
        time = serial_time(row.serial)
        issued_at, not_after = codec.to_micros(row.issued_at), codec.to_micros(row.not_after)
        self._handle.execute(
            _ADD_ISSUED,
            (
                row.serial,
                names.identity(str(row.spiffe_id)),
                codec.KIND_NUMBERS[row.kind],
                row.key_hash,
                names.authority(row.authority),
                issued_at,
                not_after,
                names.entry(row.entry_id) if row.entry_id else None,
                None if row.node is None else names.identity(str(row.node)),
                names.selectors(row.selectors, time) if row.selectors else None,
            ),
        )
        self._widen(not_after - issued_at, codec.to_micros(time) - issued_at)
        if row.kind in (CertificateKind.AGENT, CertificateKind.DAEMON):
            self._touched_requesters.add(row.key_hash)

    def _widen(self, life: int, lead: int) -> None:
        """Keep the bounds by which reads know what can be alive."""
        if self._longest is None:
            found = self._handle.row("SELECT longest_life, longest_lead FROM ledger")
            self._longest = (int(found[0]), int(found[1])) if found else (0, 0)
        if life > self._longest[0] or lead > self._longest[1]:
            self._longest = (max(life, self._longest[0]), max(lead, self._longest[1]))
            self._handle.execute("UPDATE ledger SET longest_life = ?, longest_lead = ?", self._longest)

    def _last_end(self) -> int:
        """When all that has been issued until now has expired, at the latest."""
        last = self._handle.row("SELECT max(serial) FROM issued")
        life, _ = self._bounds()
        return codec.to_micros(serial_time(last[0]) + life) if last and last[0] is not None else 0

    # Revocations and blocks.

    def add_revocation(self, row: RevocationRecord) -> None:
        """Append to the log. Raises `InternalError` if `seq` is not the next one."""
        expected = self.revocation_seq() + 1
        if row.seq != expected:
            raise InternalError(f"revocation {row.seq} does not follow on the log, which goes on with {expected}")
        self._insert("revocation", denial_codec.REVOCATION_COLUMNS, denial_codec.revocation_row(row))

    def drop_revocation(self, seq: int, at: dt.datetime) -> None:
        """Take it from the list; it stays in the log. Raises `NotFoundError`."""
        cursor = self._handle.execute(
            "UPDATE revocation SET dropped_at = coalesce(dropped_at, ?) WHERE seq = ?", (codec.to_micros(at), seq)
        )
        if not cursor.rowcount:
            raise NotFoundError(f"no revocation {seq}")

    def add_expansion(self, expansion: Expansion) -> int:
        self._insert("expansion", denial_codec.EXPANSION_COLUMNS, denial_codec.expansion_row(expansion))
        row = self._handle.row("SELECT last_insert_rowid()")
        return int(row[0]) if row is not None else 0

    def update_expansion(self, expansion: Expansion) -> None:
        self._handle.execute(
            "UPDATE expansion SET after_serial = ?, revoked = ?, revocation_seq = ?, finished_at = ? WHERE id = ?",
            (
                expansion.after_serial,
                expansion.revoked,
                expansion.revocation_seq,
                codec.micros_or_none(expansion.finished_at),
                expansion.id,
            ),
        )

    def add_command_answer(self, request_id: bytes, answer: bytes, at: dt.datetime) -> None:
        self._handle.execute("INSERT INTO command_answer VALUES (?, ?, ?)", (request_id, answer, codec.to_micros(at)))

    def add_block(self, block: Block) -> None:
        """A block that is there already stays as it is."""
        self._handle.execute(
            f"INSERT INTO block ({denial_codec.BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            denial_codec.block_row(block),
        )
        self._block_kinds = None

    def remove_block(self, kind: BlockKind, value: str) -> bool:
        """Whether it was there."""
        cursor = self._handle.execute("DELETE FROM block WHERE kind = ? AND value = ?", (str(kind), value))
        self._block_kinds = None
        return cursor.rowcount > 0

    def find_block(self, targets: Iterable[tuple[BlockKind, str]]) -> Block | None:
        if self._block_kinds is None:
            self._block_kinds = {kind for (kind,) in self._handle.rows("SELECT DISTINCT kind FROM block")}
        if not self._block_kinds:
            return None
        for kind, value in targets:
            if str(kind) not in self._block_kinds:
                continue
            row = self._handle.row(
                f"SELECT {denial_codec.BLOCK_COLUMNS} FROM block WHERE kind = ? AND value = ?", (str(kind), value)
            )
            if row is not None:
                return denial_codec.block(row)
        return None

    # Audit trail and alarms.

    def add_audit(self, row: AuditRow) -> int:
        return self._add_audit(row, None)

    def add_denial(self, row: AuditRow) -> int:
        """A minute is one of the clock's; what is kept beside the count is the first row's."""
        return self._add_audit(row, codec.alike(row))

    def _add_audit(self, row: AuditRow, alike: bytes | None) -> int:
        added = self._handle.row(
            "INSERT INTO audit (at, actor, action, subject, detail, origin, count, alike) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (alike) WHERE alike IS NOT NULL "
            "DO UPDATE SET count = count + excluded.count RETURNING id",
            (*codec.audit_row(row), alike),
        )
        if added is None:
            raise InternalError("audit row was not written")
        return int(added[0])

    def raise_alarm(self, *, kind: str, subject: str, message: str, at: dt.datetime) -> int:
        """The first message stays; rows of the audit trail are counted like denials, so that none can be flooded."""
        raised = self._handle.row(
            "INSERT INTO alarm (kind, subject, message, opened_at, count, acknowledged_by) VALUES (?, ?, ?, ?, 1, '') "
            "ON CONFLICT (kind, subject) WHERE acknowledged_at IS NULL DO UPDATE SET count = count + 1 RETURNING id",
            (kind, subject, message, codec.to_micros(at)),
        )
        if raised is None:
            raise InternalError("alarm was not written")
        detail = {"alarm": int(raised[0]), "kind": kind, "message": message}
        self.add_denial(AuditRow(at=at, actor="ca", action="alarm.raise", subject=subject, detail=detail))
        return int(raised[0])

    def acknowledge_alarm(self, alarm_id: int, by: str, at: dt.datetime) -> Alarm | None:
        """Close an open alarm and write the audit row. None: no alarm of this number is open."""
        row = self._handle.row(
            "UPDATE alarm SET acknowledged_at = ?, acknowledged_by = ? WHERE id = ? AND acknowledged_at IS NULL "
            f"RETURNING {codec.ALARM_COLUMNS}",
            (codec.to_micros(at), by, alarm_id),
        )
        if row is None:
            return None
        alarm = codec.alarm(row)
        detail = {"alarm": alarm.id, "kind": alarm.kind}
        self.add_audit(AuditRow(at=at, actor=by, action="alarm.acknowledge", subject=alarm.subject, detail=detail))
        return replace(alarm, acknowledged_at=at, acknowledged_by=by)

    def prune(self, *, issued_expired_before: dt.datetime, audit_before: dt.datetime, limit: int) -> int:
        deleted = prune(
            self._handle,
            issued_expired_before=codec.to_micros(issued_expired_before),
            audit_before=codec.to_micros(audit_before),
            bounds=self._bounds(),
            limit=limit,
        )
        self._names.forget_all()
        return deleted

    # Statements that tables share.

    def _insert(self, table: str, columns: str, row: codec.Row) -> None:
        self._handle.execute(f"INSERT INTO {table} ({columns}) VALUES ({_marks(row)})", row)

    def _update(
        self, table: str, columns: list[str], values: list[object], key: str, key_value: object, what: str
    ) -> None:
        updates = ", ".join(f"{column} = ?" for column in columns)
        cursor = self._handle.execute(f"UPDATE {table} SET {updates} WHERE {key} = ?", (*values, key_value))
        if not cursor.rowcount:
            raise NotFoundError(f"no {what}")

    def _delete(self, table: str, key: str, key_value: object, what: str) -> None:
        if not self._handle.execute(f"DELETE FROM {table} WHERE {key} = ?", (key_value,)).rowcount:
            raise NotFoundError(f"no {what}")


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)
