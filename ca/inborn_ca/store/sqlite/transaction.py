"""Everything between `begin` and `commit` of the store is one durable commit, or nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from inborn_ca.store.sqlite.audit import AuditWrites
from inborn_ca.store.sqlite.authorities import AuthorityWrites
from inborn_ca.store.sqlite.blocks import BlockWrites
from inborn_ca.store.sqlite.codec import to_micros
from inborn_ca.store.sqlite.entries import EntryWrites
from inborn_ca.store.sqlite.findings import FindingWrites
from inborn_ca.store.sqlite.handle import Handle
from inborn_ca.store.sqlite.interning import Names
from inborn_ca.store.sqlite.ledger import LedgerWrites
from inborn_ca.store.sqlite.members import MemberWrites
from inborn_ca.store.sqlite.meta import MetaWrites
from inborn_ca.store.sqlite.pruning import prune
from inborn_ca.store.sqlite.revocations import RevocationWrites
from inborn_ca.store.sqlite.tokens import TokenWrites

__all__ = ["SqliteTransaction"]


class SqliteTransaction:
    """What a store's one writer does within a transaction; the store makes it once and begins it anew each time."""

    def __init__(self, handle: Handle, names: Names) -> None:
        self._handle = handle
        self._names = names
        self._depth = 0
        self._touched: set[bytes] = set()
        """Hashes of requesters' keys that were written or issued for."""
        self.meta = MetaWrites(handle)
        self.authorities = AuthorityWrites(handle)
        self.tokens = TokenWrites(handle)
        self.members = MemberWrites(handle, self._touched)
        self.entries = EntryWrites(handle)
        self.ledger = LedgerWrites(handle, names, self._touched)
        self.revocations = RevocationWrites(handle)
        self.blocks = BlockWrites(handle)
        self.findings = FindingWrites(handle)
        self.audit = AuditWrites(handle)

    def begin(self) -> None:
        """Forget what the last transaction knew. Called by the store."""
        self._depth = 0
        self._touched.clear()
        self._forget()

    def _forget(self) -> None:
        self.ledger.forget()
        self.blocks.forget()

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
            self._forget()
            raise
        else:
            self._handle.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    def finish(self) -> None:
        """Write what belongs to the transaction as a whole. Called by the store before it commits."""
        if self._touched:
            self.members.keep_touched(self.ledger.last_end())

    def prune(self, *, issued_expired_before: dt.datetime, audit_before: dt.datetime, limit: int) -> int:
        deleted = prune(
            self._handle,
            issued_expired_before=to_micros(issued_expired_before),
            audit_before=to_micros(audit_before),
            bounds=self.ledger.bounds(),
            limit=limit,
        )
        self._names.forget_all()
        return deleted
