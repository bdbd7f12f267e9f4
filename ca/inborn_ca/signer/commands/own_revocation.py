"""What an agent or an enrolled daemon may revoke by itself: what it fetched, and nothing else.

The request is signed, so that a captured front can revoke nothing. A quota for each requester keeps a broken agent from
filling the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from inborn._internal.revocation.reason import is_reason
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.wire.messages import parse_message
from inborn.errors import DeniedError, InbornError, RequestError
from inborn_ca.model.quota import Quota
from inborn_ca.model.records import Issued, MemberKind
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.revocation_log import append_revocation
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.requesters.signed import Requester, believe
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2, signer_pb2

__all__ = ["MAX_SERIALS", "REVOKE_METHOD", "NotYours", "OwnRevocation"]

REVOKE_METHOD = "/inborn.v1.Authority/Revoke"
MAX_SERIALS = 500  # a request: all that a node holds, or a large part of it

QUOTA = 1000.0  # certificates an requester may revoke at once
QUOTA_REFILL = 10.0  # and again each second: more than a node renews


class NotYours(DeniedError):
    """An requester may revoke what it fetched itself."""


class OwnRevocation:
    """The command behind `Authority.Revoke`."""

    def __init__(self, state: SignerState, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._monotonic = monotonic
        self.quota = Quota("revoking", capacity=QUOTA, per_second=QUOTA_REFILL)

    def revoke(self, forwarded: signer_pb2.ForwardedRequest) -> Callable[[Transaction, Changes], Finish]:
        """The command for a signed `RevokeOwnRequest`; finishes with a `RevokeOwnResponse`. All of it, or nothing."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            requester = believe(self._state, tx, forwarded.request, method=REVOKE_METHOD)
            try:
                response = self._revoke(tx, changes, requester, forwarded.origin)
            except InbornError as e:
                e.facts.setdefault("actor", requester.actor)
                raise
            return lambda: response

        return command

    def _revoke(self, tx: Transaction, changes: Changes, requester: Requester, origin: str) -> ca_pb2.RevokeOwnResponse:
        request = _read(requester)
        rows = [self._row(tx, requester, serial) for serial in dict.fromkeys(request.serials)]
        now = self._state.clock()
        alive = [r for r in rows if r.not_after > now and self._state.revocations.find(self._state.facts(r)) is None]
        self.quota.take(str(requester.member.spiffe_id), len(alive), self._monotonic())
        response = ca_pb2.RevokeOwnResponse(revoked=len(alive), revocation_seq=self._state.revocations.seq)
        for row in alive:
            response.revocation_seq = append_revocation(
                self._state,
                tx,
                changes,
                RevocationKind.SERIAL,
                row.serial,
                cut_offs={row.authority: row.serial},
                reason=request.reason,
                blocks=False,
                actor=requester.actor,
                note=request.note,
                audited=False,
            )
        detail = {"serials": [row.serial.hex() for row in alive[:20]], "count": len(alive), "note": request.note}
        subject = str(requester.member.spiffe_id)
        tx.audit.add(audit.row(now, requester.actor, "revoke.own", subject, detail=detail, origin=origin))
        if any(row.spiffe_id == requester.member.spiffe_id for row in alive):
            changes.disconnect.append(requester.member.spiffe_id)
        return response

    def _row(self, tx: Transaction, requester: Requester, serial: bytes) -> Issued:
        row = tx.ledger.get(serial)
        mine = row is not None and (
            row.node == requester.member.spiffe_id
            if requester.member.kind is MemberKind.AGENT
            else row.spiffe_id == requester.member.spiffe_id
        )
        if row is None or not mine:  # the same for both: nobody learns which serials there are
            raise NotYours(f"certificate {serial.hex()[:40]} was not fetched by {requester.member.spiffe_id}")
        return row


def _read(requester: Requester) -> ca_pb2.RevokeOwnRequest:
    request = parse_message(ca_pb2.RevokeOwnRequest, requester.payload, "revocation")
    if not 1 <= len(request.serials) <= MAX_SERIALS:
        raise RequestError(f"revocation names {len(request.serials)} serials, must name 1 to {MAX_SERIALS}")
    if any(not 1 <= len(serial) <= 20 for serial in request.serials):
        raise RequestError("a serial has 1 to 20 bytes")
    if not is_reason(request.reason):
        raise RequestError(f"{request.reason} is no reason of RFC 5280 that is offered")
    return request
