"""What the services ask of a store. One `Transaction` is one durable commit; reads are from a handle of their own.

The signer is the only writer. `Transaction` is used from one thread; `Reader` may be used from a thread of its own
while a transaction runs. Every method that takes or gives rows speaks in the values of `records` and `entry`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.records import (
    Alarm,
    AuditRow,
    AuthorityRecord,
    Block,
    BlockKind,
    Expansion,
    Finding,
    Issued,
    Member,
    RequesterKey,
    RevocationRecord,
    Token,
)
from inborn_ca.model.registration_entry import Entry

__all__ = ["Alive", "CertificateFilter", "ReadHandle", "Reader", "Store", "Transaction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFilter:
    """What `Reader.certificates` selects by; None and "" mean: any."""

    spiffe_id: SpiffeId | None = None
    node: SpiffeId | None = None
    entry_id: str = ""
    issued_after: dt.datetime | None = None
    issued_before: dt.datetime | None = None
    alive_at: dt.datetime | None = None
    after_serial: bytes = b""
    limit: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """What of the ledger is alive and matches one target."""

    certificates: int
    identities: int
    nodes: int
    examples: tuple[SpiffeId, ...]
    """Some of the identities."""
    holders: tuple[SpiffeId, ...]
    """Agents and enrolled daemons among them: those who have a stream of their own."""


class Reader(Protocol):
    """Reads of what is committed."""

    def meta(self, key: str) -> str | None: ...
    def authorities(self) -> list[AuthorityRecord]: ...
    def tokens(self) -> list[Token]: ...
    def token(self, token_id: bytes) -> Token | None: ...
    def token_use(self, token_id: bytes, key_hash: bytes) -> SpiffeId | None:
        """Who was enrolled with this token and key, if anybody was."""
        ...

    def count_token_uses(self, token_id: bytes) -> int: ...
    def members(self) -> list[Member]: ...
    def member(self, spiffe_id: SpiffeId) -> Member | None: ...
    def requester(self, key_hash: bytes) -> RequesterKey | None: ...
    def entries(self) -> list[Entry]: ...
    def entry(self, entry_id: str) -> Entry | None: ...
    def posture_policies(self) -> list[PosturePolicy]: ...
    def issued(self, serial: bytes) -> Issued | None: ...
    def certificates(self, where: CertificateFilter) -> list[Issued]:
        """By rising serial."""
        ...

    def count_alive(self, kind: BlockKind, value: str, *, at: dt.datetime) -> Alive:
        """What a target hits: an ID, a prefix, a key (hex), an entry, a node (its ID) or a selector."""
        ...

    def count_alive_of_authority(self, key_id: bytes, *, at: dt.datetime) -> Alive:
        """What an issuing authority's revocation hits."""
        ...

    def holders_of_authority(self, key_id: bytes, *, at: dt.datetime) -> list[SpiffeId]:
        """Agents and daemons that have certificates alive for themselves, all of them of this authority."""
        ...

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
        """(serial, authority) of what is alive, matches and lies at or below its cut-off, by rising serial."""
        ...

    def findings(self, *, accepted: bool = False, after_id: int = 0, limit: int = 1000) -> list[Finding]:
        """By rising number: certificates that wait, or all."""
        ...

    def finding(self, finding_id: int) -> Finding | None: ...
    def find_certificate_finding(self, subject: str) -> Finding | None: ...
    def count_findings_of(self, reporter: str) -> int: ...
    def expansion(self, expansion_id: int) -> Expansion | None: ...
    def open_expansions(self) -> list[Expansion]: ...
    def command_answer(self, request_id: bytes) -> bytes | None:
        """What was answered to the command with this idempotency key."""
        ...

    def revocations(
        self, *, dropped: bool = False, after_seq: int = 0, limit: int | None = None
    ) -> list[RevocationRecord]: ...
    def revocation_seq(self) -> int: ...
    def blocks(self) -> list[Block]: ...
    def audit(self, *, after_id: int, limit: int, action: str = "", newest: bool = False) -> list[AuditRow]: ...
    def alarms(self, *, acknowledged: bool = False) -> list[Alarm]: ...


class ReadHandle(Reader, Protocol):
    """A reader that somebody owns."""

    def close(self) -> None: ...


class Transaction(Reader, Protocol):
    """Reads its own writes. Nothing of it is there before `commit`, all of it after."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What happens inside is undone if it raises; the transaction goes on."""
        ...

    def set_meta(self, key: str, value: str) -> None: ...
    def add_authority(self, authority: AuthorityRecord) -> None: ...
    def update_authority(self, authority: AuthorityRecord) -> None: ...
    def remove_authority(self, key_id: bytes) -> None:
        """Forget it; what it issued keeps its name in the ledger."""
        ...

    def add_token(self, token: Token) -> None: ...
    def withdraw_token(self, token_id: bytes, at: dt.datetime) -> None: ...
    def add_token_use(self, token_id: bytes, key_hash: bytes, spiffe_id: SpiffeId, at: dt.datetime) -> None: ...

    def put_member(self, member: Member) -> None: ...
    def put_requester(self, requester: RequesterKey) -> None: ...
    def use_numbers(self, used: Iterable[tuple[bytes, int, int]]) -> None:
        """Write (key hash, last number, used numbers) of requesters that are there; nothing else of them changes."""
        ...

    def add_entry(self, entry: Entry) -> None: ...
    def update_entry(self, entry: Entry) -> None: ...
    def delete_entry(self, entry_id: str) -> None: ...
    def add_posture_policy(self, policy: PosturePolicy) -> None: ...
    def delete_posture_policy(self, policy_id: str) -> None: ...

    def add_issued(self, row: Issued) -> None:
        """Raises `inborn.errors.InternalError` if the serial is there already."""
        ...

    def add_revocation(self, row: RevocationRecord) -> None: ...
    def drop_revocation(self, seq: int, at: dt.datetime) -> None: ...
    def add_expansion(self, expansion: Expansion) -> int:
        """Returns its id; that of the row is ignored."""
        ...

    def update_expansion(self, expansion: Expansion) -> None: ...
    def add_finding(self, finding: Finding) -> int:
        """Returns its number; `finding.id` is not looked at."""
        ...

    def use_finding_number(self, finding_id: int, number: int) -> None: ...
    def accept_finding(self, finding_id: int, by: str, at: dt.datetime) -> None: ...
    def add_command_answer(self, request_id: bytes, answer: bytes, at: dt.datetime) -> None: ...
    def add_block(self, block: Block) -> None: ...
    def remove_block(self, kind: BlockKind, value: str) -> bool: ...
    def find_block(self, targets: Iterable[tuple[BlockKind, str]]) -> Block | None:
        """The first block that is there for one of the targets."""
        ...

    def add_audit(self, row: AuditRow) -> int: ...
    def add_denial(self, row: AuditRow) -> int:
        """Like `add_audit`, but rows alike (actor, action, subject, detail's "kind") of one minute become one row
        with a count."""
        ...

    def raise_alarm(self, *, kind: str, subject: str, message: str, at: dt.datetime) -> int:
        """Open an alarm, or count an open one of the same kind and subject up; writes its audit row as well."""
        ...

    def acknowledge_alarm(self, alarm_id: int, by: str, at: dt.datetime) -> Alarm | None:
        """Close an open alarm and write the audit row. None: no alarm of this number is open."""
        ...

    def prune(self, *, issued_expired_before: dt.datetime, audit_before: dt.datetime, limit: int) -> int:
        """Delete at most `limit` rows of the ledger, of the audit trail, and of requesters, tokens and selector sets
        that nothing names any more; returns how many. 0: nothing is left to delete."""
        ...


class Store(Protocol):
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin; commit durably (full sync) at the end, roll back if the block raises."""
        ...

    def reader(self) -> ReadHandle:
        """A read-only handle of its own, for use in one other thread at a time."""
        ...

    def backup(self, path: Path, *, keys: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Write a consistent copy while others go on; `keys` are (key_id, encrypted PKCS#8). Returns octets."""
        ...

    def size(self) -> int:
        """Octets on disk."""
        ...

    def close(self) -> None: ...

    def iter_alive(self, *, at: dt.datetime) -> Iterator[Issued]:
        """Every certificate that has not expired, by rising serial, from a handle of its own."""
        ...
