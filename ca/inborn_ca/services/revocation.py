"""Revocation and blocks: one append each, in one transaction with what it changes.

A revocation names a target and the cut-off for each authority that has certificates alive: for the active one the
highest serial recorded so far, for every other one all of it. What is issued afterwards is never touched, whatever the
clock says. A block stops issuance until it is lifted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

from inborn.errors import NotFoundError, RequestError
from inborn.revocation import RuleKind
from inborn.spiffeid import SpiffeId, from_operator_input
from inborn_ca.changes import Changes
from inborn_ca.core import Core, to_rule
from inborn_ca.ports import CertificateFilter, Transaction
from inborn_ca.queue import Finish
from inborn_ca.records import (
    AuthorityState,
    Block,
    BlockKind,
    CertificateKind,
    EnrolleeKind,
    Issued,
    RevocationRecord,
)
from inborn_ca.services import audit
from inborn_ca.services.tokens import find_agent, make_token
from inborn_proto import admin_pb2

__all__ = ["REASONS", "Revocations", "add_rule", "block_message", "octets_of_hex", "revoke_certificates_of"]

REASONS = {  # RFC 5280 5.3.1; 7 is not used, 6 and 8 speak of holds, which there are none of here
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}

_SKEW = dt.timedelta(days=1)  # a rule outlives what it can touch by a day, for clocks that are wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    kind: RuleKind
    value: bytes
    block: BlockKind
    block_value: str


class Revocations:
    """Commands behind the admin's verbs."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def revoke(self, request: admin_pb2.RevokeRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """By serial or by SPIFFE ID; finishes with a `RevokeResponse`.

        By ID it also blocks, unless `reissue`. By serial it blocks nothing, unless the reason is keyCompromise: then
        the certificate's key is revoked and blocked.
        """

        def command(tx: Transaction, changes: Changes) -> Finish:
            reason = _reason(request.reason)
            if bool(request.serial) == bool(request.spiffe_id):
                raise RequestError("name exactly one of serial and SPIFFE ID")
            if request.serial:
                target, blocks, killed = self._by_serial(tx, request, reason)
            else:
                target, blocks, killed = self._by_id(tx, request)
            response = admin_pb2.RevokeResponse(log_id=self._core.log_id, certificates=len(killed), blocked=blocks)
            response.revocation_seq = add_rule(
                self._core, tx, changes, target.kind, target.value,
                reason=reason, blocks=blocks, actor=actor, note=request.note,
            )  # fmt: skip
            if blocks:
                self._block(tx, target, actor, response.revocation_seq)
            if request.reissue and request.spiffe_id:
                response.token = self._token_for_daemon(tx, from_operator_input(request.spiffe_id), actor)
            changes.disconnect += [row.spiffe_id for row in killed if row.kind is not CertificateKind.WORKLOAD]
            return lambda: response

        return command

    def _by_serial(
        self, tx: Transaction, request: admin_pb2.RevokeRequest, reason: int
    ) -> tuple[_Target, bool, list[Issued]]:
        serial = octets_of_hex(request.serial, "serial")
        row = tx.issued(serial)
        if row is None:
            raise NotFoundError(f"no certificate has serial {serial.hex()}")
        if row.kind in (CertificateKind.FRONT, CertificateKind.LOG) and row.not_after > self._core.clock():
            raise RequestError(f"certificate {serial.hex()} is the CA's own ({row.spiffe_id})")
        if reason == REASONS["keyCompromise"]:
            target = _Target(kind=RuleKind.KEY, value=row.key_hash, block=BlockKind.KEY, block_value=row.key_hash.hex())
            alive = [other for other in self._alive(tx) if other.key_hash == row.key_hash]
            return target, True, alive
        target = _Target(kind=RuleKind.SERIAL, value=serial, block=BlockKind.KEY, block_value="")
        return target, False, [row] if row.not_after > self._core.clock() else []

    def _by_id(self, tx: Transaction, request: admin_pb2.RevokeRequest) -> tuple[_Target, bool, list[Issued]]:
        spiffe_id = from_operator_input(request.spiffe_id)
        if spiffe_id.trust_domain != self._core.trust_domain or not spiffe_id.path:
            raise RequestError(f"{spiffe_id} is no identity of trust domain {self._core.trust_domain}")
        if spiffe_id.is_reserved:
            raise RequestError(
                f"{spiffe_id} is reserved and not revoked by ID", hint="for an agent: inborn agent ban ID"
            )
        target = _Target(
            kind=RuleKind.SPIFFE_ID, value=str(spiffe_id).encode(), block=BlockKind.ID, block_value=str(spiffe_id)
        )
        alive = tx.certificates(CertificateFilter(spiffe_id=spiffe_id, alive_at=self._core.clock()))
        return target, not request.reissue, alive

    def _block(self, tx: Transaction, target: _Target, actor: str, seq: int) -> None:
        if tx.find_block([(target.block, target.block_value)]) is None:
            now = self._core.clock()
            tx.add_block(Block(kind=target.block, value=target.block_value, since=now, actor=actor, revocation_seq=seq))

    def _token_for_daemon(self, tx: Transaction, spiffe_id: SpiffeId, actor: str) -> str:
        enrollee = tx.enrollee(spiffe_id)
        if enrollee is None or enrollee.kind is not EnrolleeKind.DAEMON:
            return ""
        return make_token(
            self._core, tx, kind=EnrolleeKind.DAEMON, actor=actor, spiffe_id=spiffe_id, ttl=self._core.lifetimes.token
        )[0]

    def _alive(self, tx: Transaction) -> list[Issued]:
        return tx.certificates(CertificateFilter(alive_at=self._core.clock()))

    def unblock(self, request: admin_pb2.UnblockRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Lift a block; finishes with an `UnblockResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            target = request.target
            if target.startswith("spiffe://"):
                target = f"id:{target}"
            kind_text, _, value = target.partition(":")
            try:
                kind = BlockKind(kind_text)
            except ValueError as e:
                raise RequestError(f"{target[:80]!a} is no target, such as id:spiffe://... or key:HEX") from e
            if kind in (BlockKind.ID, BlockKind.ID_PREFIX):
                value = str(from_operator_input(value))
            block = tx.find_block([(kind, value)])
            if block is None or not tx.remove_block(kind, value):
                raise NotFoundError(
                    f"nothing is blocked by {kind}:{value}", hint="inborn revocations list shows blocks"
                )
            now = self._core.clock()
            tx.add_audit(audit.row(now, actor, "block.lift", block.target))
            # Agents ask again when they hear something: the domain feed says it with an empty step of its revision.
            changes.authorities = True
            return lambda: admin_pb2.UnblockResponse(blocks=[block_message(block)])

        return command

    def ban(self, request: admin_pb2.BanAgentRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Keep an agent out: its certificates are revoked, it cannot renew or enrol, its tokens are withdrawn."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            enrollee = find_agent(tx, request.agent)
            now = self._core.clock()
            killed = revoke_certificates_of(
                self._core, tx, changes, enrollee.spiffe_id, actor=actor, reason=request.reason or "privilegeWithdrawn"
            )
            tx.put_enrollee(replace(enrollee, banned_at=enrollee.banned_at or now))
            for token in tx.tokens():
                mine = token.id == enrollee.token_id or token.spiffe_id == enrollee.spiffe_id
                if mine and token.withdrawn_at is None:
                    tx.withdraw_token(token.id, now)
            changes.enrollees.append(enrollee.spiffe_id)
            changes.disconnect.append(enrollee.spiffe_id)
            tx.add_audit(audit.row(now, actor, "agent.ban", str(enrollee.spiffe_id), detail={"reason": request.reason}))
            seq = tx.revocation_seq()
            return lambda: admin_pb2.RevokeResponse(
                revocation_seq=seq, log_id=self._core.log_id, certificates=killed, blocked=True
            )

        return command


def add_rule(
    core: Core,
    tx: Transaction,
    changes: Changes,
    kind: RuleKind,
    value: bytes,
    *,
    reason: int,
    blocks: bool,
    actor: str,
    note: str = "",
) -> int:
    """Append one rule to the revocation log, with its audit row; returns its seq."""
    now = core.clock()
    if len(note) > 1024:
        raise RequestError(f"note is longer than 1024 characters: {len(note)}")
    cut_offs: dict[bytes, bytes | None] = {}
    for authority in core.authorities:
        if authority.state is AuthorityState.ACTIVE:
            cut_offs[authority.key_id] = core.serials.ceiling
        elif authority.state not in (AuthorityState.ROOT, AuthorityState.PREPARED):
            cut_offs[authority.key_id] = None
    record = RevocationRecord(
        seq=tx.revocation_seq() + 1,
        kind=kind,
        value=value,
        cut_offs=cut_offs,
        reason=reason,
        blocks=blocks,
        actor=actor,
        note=note,
        revoked_at=now,
        alive_until=now + core.lifetimes.longest_svid + _SKEW,
    )
    tx.add_revocation(record)
    rule = to_rule(record)
    changes.rules.append(rule)
    detail = {"seq": record.seq, "reason": reason, "blocks": blocks, "note": note}
    tx.add_audit(audit.row(now, actor, "revoke", rule.target, detail=detail))
    return record.seq


def revoke_certificates_of(
    core: Core, tx: Transaction, changes: Changes, spiffe_id: SpiffeId, *, actor: str, reason: str
) -> int:
    """Revoke each living certificate that an agent or daemon holds for itself; returns how many.

    Their keys are revoked and not their serials, so that a certificate that was recorded and never delivered dies too.
    """
    alive = tx.certificates(CertificateFilter(spiffe_id=spiffe_id, alive_at=core.clock()))
    for key_hash in sorted({row.key_hash for row in alive}):
        add_rule(core, tx, changes, RuleKind.KEY, key_hash, reason=_reason(reason), blocks=False, actor=actor)
    return len(alive)


def block_message(block: Block) -> admin_pb2.Block:
    message = admin_pb2.Block(target=block.target, actor=block.actor, revocation_seq=block.revocation_seq)
    message.since.FromDatetime(block.since)
    return message


def _reason(name: str) -> int:
    if not name:
        return 0
    if name not in REASONS:
        raise RequestError(f"{name[:40]!a} is no reason; one of {', '.join(REASONS)}")
    return REASONS[name]


def octets_of_hex(text: str, what: str) -> bytes:
    """A serial as a person writes it (with or without colons and leading zeros) as octets without leading zeros."""
    cleaned = text.replace(":", "").strip().lower()
    try:
        if not cleaned or len(cleaned) > 64:
            raise ValueError
        return bytes.fromhex(cleaned if len(cleaned) % 2 == 0 else "0" + cleaned).lstrip(b"\0")
    except ValueError as e:
        raise RequestError(f"{what} is not hexadecimal: {text[:80]!a}") from e
