"""The store as a whole: readers, transactions, backups.

The signer is the only writer. `Transaction` is used from one thread; `Reader` may be used from a thread of its own
while a transaction runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from inborn_ca.store.interface.audit import AuditReads, AuditWrites
from inborn_ca.store.interface.authorities import AuthorityReads, AuthorityWrites
from inborn_ca.store.interface.blocks import BlockReads, BlockWrites
from inborn_ca.store.interface.entries import EntryReads, EntryWrites
from inborn_ca.store.interface.findings import FindingReads, FindingWrites
from inborn_ca.store.interface.ledger import LedgerReads, LedgerWrites
from inborn_ca.store.interface.members import MemberReads, MemberWrites
from inborn_ca.store.interface.meta import MetaReads, MetaWrites
from inborn_ca.store.interface.revocations import RevocationReads, RevocationWrites
from inborn_ca.store.interface.tokens import TokenReads, TokenWrites

__all__ = ["ReadHandle", "Reader", "Store", "Transaction"]


class Reader(Protocol):
    """Reads of what is committed."""

    @property
    def meta(self) -> MetaReads: ...
    @property
    def authorities(self) -> AuthorityReads: ...
    @property
    def tokens(self) -> TokenReads: ...
    @property
    def members(self) -> MemberReads: ...
    @property
    def entries(self) -> EntryReads: ...
    @property
    def ledger(self) -> LedgerReads: ...
    @property
    def revocations(self) -> RevocationReads: ...
    @property
    def blocks(self) -> BlockReads: ...
    @property
    def findings(self) -> FindingReads: ...
    @property
    def audit(self) -> AuditReads: ...


class ReadHandle(Reader, Protocol):
    """A reader that somebody owns."""

    def close(self) -> None: ...


class Transaction(Reader, Protocol):
    """Reads its own writes. Nothing of it is there before the commit, all of it after."""

    @property
    def meta(self) -> MetaWrites: ...
    @property
    def authorities(self) -> AuthorityWrites: ...
    @property
    def tokens(self) -> TokenWrites: ...
    @property
    def members(self) -> MemberWrites: ...
    @property
    def entries(self) -> EntryWrites: ...
    @property
    def ledger(self) -> LedgerWrites: ...
    @property
    def revocations(self) -> RevocationWrites: ...
    @property
    def blocks(self) -> BlockWrites: ...
    @property
    def findings(self) -> FindingWrites: ...
    @property
    def audit(self) -> AuditWrites: ...

    def savepoint(self) -> AbstractContextManager[None]:
        """What happens inside is undone if it raises; the transaction goes on."""
        ...

    def prune(self, *, issued_expired_before: dt.datetime, audit_before: dt.datetime, limit: int) -> int:
        """Delete at most `limit` rows of the ledger, of the audit trail, and of requesters, tokens and selector sets
        that nothing names any more; returns how many. 0: nothing is left to delete."""
        ...


class Store(Protocol):
    @property
    def location(self) -> str:
        """Where it is, for messages alone."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin; commit durably (full sync) at the end, roll back if the block raises."""
        ...

    def reader(self) -> ReadHandle:
        """A read-only handle of its own, for use in one other thread at a time."""
        ...

    def backup(self, path: Path, *, keys: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Write a consistent copy while others go on; `keys` are (key_id, encrypted PKCS#8). Returns bytes.

        Takes as long as reading all of it: for a thread of its own.
        """
        ...

    def size(self) -> int:
        """Bytes on disk. Cheap: it asks the file system and not the database."""
        ...

    def close(self) -> None: ...
