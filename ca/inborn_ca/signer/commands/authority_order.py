"""The order to revoke an issuing authority, kept in the database from the command that gave it to its end.

There is one at a time in a CA: two would wait for each other's renewals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import NotFoundError, PreconditionError, RequestError
from inborn_ca.model.records import AuthorityRecord
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader, Transaction

__all__ = ["AuthorityOrder", "close_order", "find_issuing", "give_order", "read_order", "revoke_authority_row"]

_SHORTEST, _LONGEST = 16, 40  # digits: what a person copies from a table, and a whole subject key identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityOrder:
    """Who ordered which authority to be revoked, and why."""

    authority: bytes
    reason: int
    actor: str
    note: str


def find_issuing(state: SignerState, text: str) -> AuthorityRecord:
    """An issuing authority by its key identifier in hex, or by its beginning as `inborn status` prints it.

    Raises `RequestError`, `NotFoundError`.
    """
    wanted = text.replace(":", "").lower()
    if not set(wanted) <= set("0123456789abcdef"):
        raise RequestError(f"authority is not hexadecimal: {text[:80]!a}")
    if not _SHORTEST <= len(wanted) <= _LONGEST:
        raise RequestError(f"authority is {_SHORTEST} to {_LONGEST} hexadecimal digits, not {len(wanted)}")
    found = [a for a in state.authorities if a.key_id.hex().startswith(wanted)]
    if len(found) != 1:
        raise NotFoundError(f"{len(found)} authorities have key {wanted}", hint="inborn status names them")
    record = found[0]
    if record.state is AuthorityState.ROOT:
        raise RequestError(
            f"{wanted} is the root", hint="a root is not revoked but replaced: it takes a new trust domain"
        )
    return record


def _key(ca_id: str) -> str:
    return f"revoking_authority:{ca_id}"


def read_order(reader: Reader, ca_id: str) -> AuthorityOrder | None:
    """The order that is open for an authority of this CA, which alone can replace it."""
    text = reader.meta.get(_key(ca_id))
    if not text:
        return None
    kept = json.loads(text)
    return AuthorityOrder(
        authority=bytes.fromhex(kept["authority"]), reason=kept["reason"], actor=kept["actor"], note=kept["note"]
    )


def revoke_authority_row(state: SignerState, key_id: bytes) -> Revocation | None:
    """The revocation that revokes this authority."""
    for log in state.revocations.logs():
        for revocation in log.of_target(RevocationKind.AUTHORITY, key_id):
            return revocation
    return None


def give_order(tx: Transaction, order: AuthorityOrder, ca_id: str) -> None:
    """Keep it for the CA whose authority it is. The same authority again changes nothing.

    Raises `PreconditionError` while there is another.
    """
    known = read_order(tx, ca_id)
    if known is not None and known.authority != order.authority:
        raise PreconditionError(
            f"authority {known.authority.hex()} is being revoked", hint="one at a time: try again in a minute"
        )
    if known is None:
        kept = {"authority": order.authority.hex(), "reason": order.reason, "actor": order.actor, "note": order.note}
        tx.meta.set(_key(ca_id), json.dumps(kept))


def close_order(tx: Transaction, ca_id: str) -> Finish:
    """It is carried out."""
    tx.meta.set(_key(ca_id), "")
    return lambda: None
