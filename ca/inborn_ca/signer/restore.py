"""Restoring a CA from a backup, offline, into a directory that has none.

A restored database is another incarnation: it gets a new log_id, so that agents keep what they knew beside what it
says. Its issuing authorities never sign again (a new one is made at the next start), and open tokens end: what was
issued and enrolled after the backup is unknown to it.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import AlreadyExistsError, NotFoundError, PreconditionError
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.findings import FORMER_LOG, FORMER_SEQ
from inborn_ca.signer.commands.node_attestors.join_token.tokens import end_tokens
from inborn_ca.signer.requesters.unknown_holder import FORMER_SERIAL
from inborn_ca.store import open_store, read_backup_keys
from inborn_ca.store.interface import Transaction

__all__ = ["Restored", "restore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of it."""

    trust_domain: str
    log_id: bytes
    former_log_id: bytes
    keys: int
    tokens_ended: int


def restore(backup: Path, directory: Path, *, passphrase: bytes = b"", clock: Callable[[], dt.datetime]) -> Restored:
    """Lay a backup out as the CA of `directory` (the CA's own part of a data directory).

    Raises `AlreadyExistsError` when there is a CA, `PreconditionError` when the root's key is neither in the backup
    nor in the directory. Nothing is left behind when it raises.
    """
    database = directory / "inborn.db"
    if database.exists():
        raise AlreadyExistsError(f"{database} is there already", hint="restore into an empty data directory")
    if not backup.is_file():
        raise NotFoundError(f"there is no backup at {backup}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = directory / "inborn.db.restoring"
    try:
        shutil.copyfile(backup, partial)
        partial.chmod(0o600)
        restored = _rewrite(partial, KeyStore(directory / "keys"), passphrase, clock())
        os.replace(partial, database)
    finally:
        for leftover in directory.glob("inborn.db.restoring*"):
            leftover.unlink()
    return restored


def _rewrite(path: Path, keys: KeyStore, passphrase: bytes, now: dt.datetime) -> Restored:
    encrypted = read_backup_keys(path, remove=True)
    store = open_store(path, now=now)
    try:
        if encrypted and passphrase:
            for key_id, pkcs8 in encrypted:
                keys.import_encrypted(key_id, pkcs8, passphrase)
        with store.transaction() as tx:
            root = next((a for a in tx.authorities() if a.state is AuthorityState.ROOT), None)
            if root is None:
                raise PreconditionError("backup has no root authority")
            if not keys.has(root.key_id):
                raise PreconditionError(
                    f"key of root {root.key_id.hex()} is not there",
                    hint="give the passphrase of a backup with keys, or put the old keys directory in place",
                )
            former = bytes.fromhex(tx.meta("log_id") or "")
            fresh = os.urandom(16)
            tx.set_meta("log_id", fresh.hex())
            tx.set_meta(FORMER_LOG, former.hex())
            tx.set_meta(FORMER_SEQ, str(tx.revocation_seq()))
            tx.set_meta(FORMER_SERIAL, tx.meta("serial") or "0:0")
            ended = end_tokens(tx, now)
            _retire(tx)
            detail = {"former_log_id": former.hex(), "tokens_ended": ended}
            tx.add_audit(audit.row(now, f"uid:{os.geteuid()}", "ca.restore", fresh.hex(), detail=detail))
            trust_domain = tx.meta("trust_domain") or ""
    finally:
        store.close()
    return Restored(
        trust_domain=trust_domain, log_id=fresh, former_log_id=former, keys=len(encrypted), tokens_ended=ended
    )


def _retire(tx: Transaction) -> None:
    for authority in tx.authorities():
        if authority.state in (AuthorityState.ACTIVE, AuthorityState.PREPARED):
            tx.update_authority(replace(authority, state=AuthorityState.RETIRED))
