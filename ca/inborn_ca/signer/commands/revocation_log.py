"""One revocation more in the revocation log, with its cut-off.

The cut-off names each authority that has certificates alive: for the active one the highest serial recorded so far, for
every other one all of it. Where several CAs share the database each has an active one, and its own highest serial.
What is issued afterwards is never touched, whatever the clock says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import RequestError
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.model.records import RevocationRecord
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.state import SignerState, to_revocation
from inborn_ca.store.interface import CertificateFilter, Transaction

__all__ = ["REVOCATION_OUTLIVES", "append_revocation", "cut_offs_now", "revoke_certificates_of"]

MAX_NOTE = 1024  # characters: a sentence or a ticket's address

REVOCATION_OUTLIVES = dt.timedelta(
    days=1
)  # a revocation outlives what it can touch by a day, for clocks that are wrong


def cut_offs_now(state: SignerState, tx: Transaction) -> dict[bytes, bytes | None]:
    """The cut-off of a revocation that commits now.

    Another CA's serials go as far as its state in the database, which is written with the rows that it numbers. Its
    authorities are read anew: it may have activated one since this CA last looked.
    """
    cut_offs: dict[bytes, bytes | None] = {}
    known = {authority.key_id for authority in state.own_authorities}
    others = [a for a in tx.authorities.all() if a.state is not AuthorityState.ROOT and a.key_id not in known]
    ceilings = {state.ca_id: state.serials.ceiling}
    if others:
        for ca_id, stored in tx.authorities.serial_states().items():
            ceilings.setdefault(ca_id, SerialSource.from_state(stored).ceiling)
    for authority in (*state.own_authorities, *others):
        if authority.state is AuthorityState.ACTIVE:
            cut_offs[authority.key_id] = ceilings[authority.ca_id]
        elif authority.state not in (AuthorityState.ROOT, AuthorityState.PREPARED):
            cut_offs[authority.key_id] = None
    return cut_offs


def append_revocation(
    state: SignerState,
    tx: Transaction,
    changes: Changes,
    kind: RevocationKind,
    value: bytes,
    *,
    reason: int,
    blocks: bool,
    actor: str,
    note: str = "",
    cut_offs: Mapping[bytes, bytes | None] | None = None,
    alive_until: dt.datetime | None = None,
    audited: bool = True,
) -> int:
    """Append one revocation to the revocation log, with its audit row; returns its seq.

    `alive_until` says when nothing that it touches can be alive any more, where that is not the longest life from now.
    """
    now = state.clock()
    if len(note) > MAX_NOTE:
        raise RequestError(f"note is longer than {MAX_NOTE} characters: {len(note)}")
    record = RevocationRecord(
        seq=(changes.revocations[-1].seq if changes.revocations else tx.revocations.seq()) + 1,
        kind=kind,
        value=value,
        cut_offs=cut_offs_now(state, tx) if cut_offs is None else cut_offs,
        reason=reason,
        blocks=blocks,
        actor=actor,
        note=note,
        revoked_at=now,
        alive_until=alive_until or now + state.lifetimes.longest_svid + REVOCATION_OUTLIVES,
    )
    tx.revocations.add(record)
    revocation = to_revocation(record)
    changes.revocations.append(revocation)
    if audited:
        detail = {"seq": record.seq, "reason": reason, "blocks": blocks, "note": note}
        tx.audit.add(audit.row(now, actor, "revoke", revocation.target, detail=detail))
    return record.seq


def revoke_certificates_of(
    state: SignerState, tx: Transaction, changes: Changes, spiffe_id: SpiffeId, *, actor: str, reason: int
) -> int:
    """Revoke each living certificate that an agent or daemon holds for itself; returns how many.

    Their keys are revoked and not their serials, so that a certificate that was recorded and never delivered dies too.
    It scans what is alive within a group, 60 ms for a million rows: once where somebody is banned or enrolled anew.
    """
    alive = tx.ledger.select(CertificateFilter(spiffe_id=spiffe_id, alive_at=state.clock()))
    for key_hash in sorted({row.key_hash for row in alive if row.key_hash}):
        append_revocation(state, tx, changes, RevocationKind.KEY, key_hash, reason=reason, blocks=False, actor=actor)
    for row in alive:
        if not row.key_hash:
            append_revocation(
                state, tx, changes, RevocationKind.SERIAL, row.serial,
                cut_offs={row.authority: row.serial}, reason=reason, blocks=False, actor=actor,
            )  # fmt: skip
    return len(alive)
