"""A handle that only reads, with every port's reads on it."""

from __future__ import annotations

from inborn_ca.store.sqlite.audit import AuditReads
from inborn_ca.store.sqlite.authorities import AuthorityReads
from inborn_ca.store.sqlite.blocks import BlockReads
from inborn_ca.store.sqlite.entries import EntryReads
from inborn_ca.store.sqlite.findings import FindingReads
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.ledger import LedgerReads
from inborn_ca.store.sqlite.members import MemberReads
from inborn_ca.store.sqlite.meta import MetaReads
from inborn_ca.store.sqlite.revocations import RevocationReads
from inborn_ca.store.sqlite.tokens import TokenReads

__all__ = ["SqliteReader"]


class SqliteReader:
    """A handle of its own that cannot write, for one thread at a time; closed when nobody holds it or a port of it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.meta = MetaReads(handle)
        self.authorities = AuthorityReads(handle)
        self.tokens = TokenReads(handle)
        self.members = MemberReads(handle)
        self.entries = EntryReads(handle)
        self.ledger = LedgerReads(handle)
        self.revocations = RevocationReads(handle)
        self.blocks = BlockReads(handle)
        self.findings = FindingReads(handle)
        self.audit = AuditReads(handle)

    def close(self) -> None:
        self._handle.close()
