"""Revocations and blocks: one transaction each, with what it changes.

A revocation kills what exists, for ever. A block stops issuance until it is lifted. Before it acts, a revocation says
what it hits, and above a guard it wants to be told that number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inborn._internal.revocation.reason import PRIVILEGE_WITHDRAWN, reason_number
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId, from_operator_input, parse_spiffe_id
from inborn.errors import NotFoundError, PreconditionError, RequestError
from inborn_ca.model.records import Block, BlockKind, Expansion, MemberKind
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.signer.commands.authority_order import AuthorityOrder, give_order
from inborn_ca.signer.commands.node_attestors.join_token.tokens import make_token
from inborn_ca.signer.commands.node_attestors.kinds import node_attestors
from inborn_ca.signer.commands.revocation_log import MAX_NOTE, append_revocation, cut_offs_now, revoke_certificates_of
from inborn_ca.signer.commands.targets import Target, parse_target
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Alive, Transaction
from inborn_proto import admin_pb2

__all__ = ["BULK_GUARD", "BulkGuard", "Revocations", "block_message"]

BULK_GUARD = 500  # living certificates: more at a word is a slip of the hand, or a thief's

TOLERANCE = 0.05  # of the expected number: renewals change it while somebody types it

_REQUEST_ID = 16  # bytes


class BulkGuard(PreconditionError):
    """A revocation would hit more than it was expected to."""


class Revocations:
    """Commands behind the admin's verbs."""

    def __init__(self, state: SignerState) -> None:
        self._state = state
        self._attestors = node_attestors(state)

    def revoke(self, request: admin_pb2.RevokeRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Kill what exists and block what would come next; finishes with a `RevokeResponse`.

        `reissue` leaves the block out; a serial has none. With the reason keyCompromise a serial means its key. What
        peers cannot see is blocked here and expanded afterwards: the response names the expansion.
        """

        def command(tx: Transaction, changes: Changes) -> Finish:
            answered = self._answered(tx, request)
            if answered is not None:
                return lambda: answered
            reason = reason_number(request.reason)
            target = parse_target(self._state, tx, request, reason=reason)
            hit = self._hit(tx, target)
            response = self._preview(hit, request)
            if not request.dry_run:
                self._guard(hit, request)
                self._act(tx, changes, request, target, hit, reason, actor, response)
                if request.request_id:
                    tx.revocations.add_answer(request.request_id, response.SerializeToString(), self._state.clock())
            return lambda: response

        return command

    def _answered(self, tx: Transaction, request: admin_pb2.RevokeRequest) -> admin_pb2.RevokeResponse | None:
        """What was answered to this very command before, if it was."""
        if not request.request_id:
            return None
        if len(request.request_id) != _REQUEST_ID:
            raise RequestError(f"request_id has {len(request.request_id)} bytes, not {_REQUEST_ID}")
        answer = tx.revocations.answer(request.request_id)
        return None if answer is None else admin_pb2.RevokeResponse.FromString(answer)

    def _hit(self, tx: Transaction, target: Target) -> Alive:
        if target.can_block:
            return tx.ledger.count_alive(target.block, target.block_value, at=self._state.clock())
        if target.revocation is RevocationKind.AUTHORITY:
            return tx.ledger.count_alive_of_authority(target.value, at=self._state.clock())
        row = tx.ledger.get(target.value)
        if row is None or row.not_after <= self._state.clock():
            return Alive(certificates=0, identities=0, nodes=0, examples=(), holders=())
        is_holder = str(row.kind) in (MemberKind.AGENT, MemberKind.DAEMON)
        return Alive(
            certificates=1,
            identities=1,
            nodes=1 if row.node else 0,
            examples=(row.spiffe_id,),
            holders=(row.spiffe_id,) if is_holder else (),
        )

    def _preview(self, hit: Alive, request: admin_pb2.RevokeRequest) -> admin_pb2.RevokeResponse:
        return admin_pb2.RevokeResponse(
            log_id=self._state.log_id,
            certificates=hit.certificates,
            identities=hit.identities,
            nodes=hit.nodes,
            examples=[str(spiffe_id) for spiffe_id in hit.examples],
            dry_run=request.dry_run,
            needs_count=hit.certificates > BULK_GUARD,
        )

    def _guard(self, hit: Alive, request: admin_pb2.RevokeRequest) -> None:
        if request.expect_count and abs(hit.certificates - request.expect_count) > request.expect_count * TOLERANCE:
            raise BulkGuard(f"{hit.certificates} certificates would be hit, {request.expect_count} were expected")
        if hit.certificates > BULK_GUARD and not request.expect_count:
            raise BulkGuard(
                f"{hit.certificates} certificates would be hit, more than {BULK_GUARD}",
                hint=f"if that is meant: --expect-count {hit.certificates}",
            )

    def _act(
        self,
        tx: Transaction,
        changes: Changes,
        request: admin_pb2.RevokeRequest,
        target: Target,
        hit: Alive,
        reason: int,
        actor: str,
        response: admin_pb2.RevokeResponse,
    ) -> None:
        if target.revocation is RevocationKind.AUTHORITY:
            self._begin_authority(tx, changes, request, target, reason, actor, response)
            return
        blocks = target.can_block and not request.reissue
        if target.revocation is not None:
            response.revocation_seq = append_revocation(
                self._state, tx, changes, target.revocation, target.value,
                reason=reason, blocks=blocks, actor=actor, note=request.note,
            )  # fmt: skip
        else:
            self._begin_expansion(tx, changes, target, reason, actor, request, response)
        if blocks:
            self._block(tx, target, actor, response.revocation_seq)
        response.blocked = blocks
        if request.reissue and target.spiffe_id is not None:
            response.token = self._token_for_daemon(tx, target.spiffe_id, actor)
        changes.disconnect += hit.holders

    def _begin_authority(
        self,
        tx: Transaction,
        changes: Changes,
        request: admin_pb2.RevokeRequest,
        target: Target,
        reason: int,
        actor: str,
        response: admin_pb2.RevokeResponse,
    ) -> None:
        """Others must renew before it can be refused: the order is kept, and carried out from now on."""
        if len(request.note) > MAX_NOTE:
            raise RequestError(f"note is longer than {MAX_NOTE} characters: {len(request.note)}")
        response.authority = target.value.hex()
        record = next(a for a in tx.authorities.all() if a.key_id == target.value)
        if record.state is AuthorityState.REVOKED:
            return
        order = AuthorityOrder(authority=target.value, reason=reason, actor=actor, note=request.note)
        give_order(tx, order, record.ca_id)
        changes.revoking = True
        detail = {"reason": reason, "note": request.note}
        subject = f"authority:{response.authority}"
        tx.audit.add(audit.row(self._state.clock(), actor, "revoke", subject, detail=detail))

    def _begin_expansion(
        self,
        tx: Transaction,
        changes: Changes,
        target: Target,
        reason: int,
        actor: str,
        request: admin_pb2.RevokeRequest,
        response: admin_pb2.RevokeResponse,
    ) -> None:
        now = self._state.clock()
        if target.block is BlockKind.NODE:
            revoke_certificates_of(
                self._state, tx, changes, parse_spiffe_id(target.block_value), actor=actor, reason=reason
            )
        response.expansion = tx.revocations.add_expansion(
            Expansion(
                id=0,
                kind=target.block,
                value=target.block_value,
                cut_offs=cut_offs_now(self._state, tx),
                reason=reason,
                actor=actor,
                note=request.note,
                started_at=now,
            )
        )
        changes.expanding = True
        response.revocation_seq = changes.revocations[-1].seq if changes.revocations else tx.revocations.seq()
        detail = {"reason": reason, "reissue": request.reissue, "note": request.note, "expansion": response.expansion}
        subject = f"{target.block}:{target.block_value}"
        tx.audit.add(audit.row(now, actor, "revoke", subject, detail=detail))

    def _block(self, tx: Transaction, target: Target, actor: str, seq: int) -> None:
        if tx.blocks.find([(target.block, target.block_value)]) is None:
            now = self._state.clock()
            tx.blocks.add(
                Block(kind=target.block, value=target.block_value, since=now, actor=actor, revocation_seq=seq)
            )

    def _token_for_daemon(self, tx: Transaction, spiffe_id: SpiffeId, actor: str) -> str:
        member = tx.members.get(spiffe_id)
        if member is None or member.kind is not MemberKind.DAEMON:
            return ""
        return make_token(
            self._state, tx, kind=MemberKind.DAEMON, actor=actor, spiffe_id=spiffe_id, ttl=self._state.lifetimes.token
        )[0]

    # -- the rest ----------------------------------------------------------------------------------------------------

    def unblock(self, request: admin_pb2.UnblockRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Lift a block; finishes with an `UnblockResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            kind, value = _block_target(request.target)
            block = tx.blocks.find([(kind, value)])
            if block is None or not tx.blocks.remove(kind, value):
                raise NotFoundError(
                    f"nothing is blocked by {kind}:{value}", hint="inborn blocks list shows what is blocked"
                )
            self._lift_ban(tx, changes, block)
            tx.audit.add(audit.row(self._state.clock(), actor, "block.lift", block.target))
            # Agents ask again when they hear something: the domain feed says the authorities once more.
            changes.authorities = True
            return lambda: admin_pb2.UnblockResponse(blocks=[block_message(block)])

        return command

    def _lift_ban(self, tx: Transaction, changes: Changes, block: Block) -> None:
        """A ban is the block of a node and more: who lifts the one lifts the other, and it may be enrolled again."""
        if block.kind is not BlockKind.NODE:
            return
        member = tx.members.get(parse_spiffe_id(block.value))
        if member is not None and member.banned_at is not None:
            self._state.requesters.put_member(tx, replace(member, banned_at=None))
            changes.members.append(member.spiffe_id)

    def ban(self, request: admin_pb2.BanAgentRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Keep an agent out: its certificates are revoked, it cannot renew or enroll, whatever evidence it has.

        What it vouched for is expanded, as `revoke --agent` does. `unblock node:ID` lets it be enrolled again.
        """

        def command(tx: Transaction, changes: Changes) -> Finish:
            member = find_agent(tx, request.agent)
            now = self._state.clock()
            node = str(member.spiffe_id)
            hit = tx.ledger.count_alive(BlockKind.NODE, node, at=now)
            reason = PRIVILEGE_WITHDRAWN
            response = admin_pb2.RevokeResponse(
                log_id=self._state.log_id, certificates=hit.certificates, identities=hit.identities, blocked=True
            )
            target = Target(revocation=None, value=b"", block=BlockKind.NODE, block_value=node)
            self._begin_expansion(
                tx, changes, target, reason, actor, admin_pb2.RevokeRequest(note=request.reason), response
            )
            self._state.requesters.put_member(tx, replace(member, banned_at=member.banned_at or now))
            self._block(tx, target, actor, response.revocation_seq)
            for attestor in self._attestors.values():
                attestor.shut_out(member, now=now, tx=tx)
            changes.members.append(member.spiffe_id)
            changes.disconnect.append(member.spiffe_id)
            tx.audit.add(audit.row(now, actor, "agent.ban", node, detail={"reason": request.reason}))
            return lambda: response

        return command


def block_message(block: Block) -> admin_pb2.Block:
    message = admin_pb2.Block(target=block.target, actor=block.actor, revocation_seq=block.revocation_seq)
    message.since.FromDatetime(block.since)
    return message


def _block_target(text: str) -> tuple[BlockKind, str]:
    """Read a block's target as `inborn blocks list` prints it; a bare ID means that ID."""
    if text.startswith("spiffe://"):
        text = f"id:{text}"
    kind_text, _, value = text.partition(":")
    try:
        kind = BlockKind(kind_text)
    except ValueError as e:
        raise RequestError(f"{text[:80]!a} is no target, such as id:spiffe://... or key:HEX") from e
    if kind in (BlockKind.ID, BlockKind.ID_PREFIX):
        value = str(from_operator_input(value))
    return kind, value
