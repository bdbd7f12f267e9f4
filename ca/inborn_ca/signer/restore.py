"""Restoring a CA from a backup, offline, into a directory that has none.

A restored database is another incarnation: it gets a new log_id, so that agents keep what they knew beside what it
says. Its issuing authorities never sign again (a new one is made at the next start), and open tokens end: what was
issued and enrolled after the backup is unknown to it.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import PreconditionError
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.findings import FORMER_LOG, FORMER_SEQ
from inborn_ca.signer.commands.node_attestors.join_token.tokens import end_tokens
from inborn_ca.signer.requesters.unknown_holder import FORMER_SERIAL
from inborn_ca.store.interface import Transaction
from inborn_ca.store.opening import restored_store

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
    now = clock()
    with restored_store(backup, directory, now=now) as (store, encrypted):
        keys = KeyStore(directory / "keys")
        if passphrase:
            for key_id, pkcs8 in encrypted:
                keys.import_encrypted(key_id, pkcs8, passphrase)
        with store.transaction() as tx:
            return _rewrite(tx, keys, now, exported=len(encrypted))


def _rewrite(tx: Transaction, keys: KeyStore, now: dt.datetime, *, exported: int) -> Restored:
    root = next((a for a in tx.authorities.all() if a.state is AuthorityState.ROOT), None)
    if root is None:
        raise PreconditionError("backup has no root authority")
    if not keys.has(root.key_id):
        raise PreconditionError(
            f"key of root {root.key_id.hex()} is not there",
            hint="give the passphrase of a backup with keys, or put the old keys directory in place",
        )
    former = bytes.fromhex(tx.meta.get("log_id") or "")
    fresh = os.urandom(16)
    tx.meta.set("log_id", fresh.hex())
    tx.meta.set(FORMER_LOG, former.hex())
    tx.meta.set(FORMER_SEQ, str(tx.revocations.seq()))
    # What no CA of the backup had reached: what has a serial above it may be younger than the backup.
    states = map(SerialSource.from_state, tx.authorities.serial_states().values())
    tx.meta.set(FORMER_SERIAL, min(states, key=lambda source: source.ceiling, default=SerialSource()).state)
    ended = end_tokens(tx, now)
    _retire(tx)
    detail = {"former_log_id": former.hex(), "tokens_ended": ended}
    tx.audit.add(audit.row(now, f"uid:{os.geteuid()}", "ca.restore", fresh.hex(), detail=detail))
    return Restored(
        trust_domain=tx.meta.get("trust_domain") or "",
        log_id=fresh,
        former_log_id=former,
        keys=exported,
        tokens_ended=ended,
    )


def _retire(tx: Transaction) -> None:
    for authority in tx.authorities.all():
        if authority.state in (AuthorityState.ACTIVE, AuthorityState.PREPARED):
            tx.authorities.update(replace(authority, state=AuthorityState.RETIRED))
