"""Enrollment by token and renewal by the holder of a certificate (design: getting in).

A token is believed when the CSR is signed by its key. Each use is bound to the key of the CSR: the same key may ask
again (a lost reply), another one takes another use, and beyond the last one it is refused and an alarm is raised.

A renewal pins the successor: one key has one successor key, whichever of its certificates asks. The same successor
again gets a further certificate; another one means two holders of the old key, and renewal stops for both.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from inborn._internal.revocation.reason import SUPERSEDED
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn._internal.wire.messages import parse_message
from inborn._internal.wire.signed_request import ENROLL_CONTEXT, MAX_BODY_SIZE, verify_octets
from inborn.errors import DeniedError, RequestError, UnauthenticatedError, moment
from inborn_ca.certificates.issuance import read_csr
from inborn_ca.model.records import CertificateKind, Member, MemberKind, RequesterKey, Token
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.revocation_log import revoke_certificates_of
from inborn_ca.signer.consequences import ConsequentialDenial, OpenAlarm, StopRenewals
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.requesters.signed import Requester, WrongRecipient, believe
from inborn_ca.signer.state import Pending, SignerState, certificate_der, spki_of
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2, signer_pb2

__all__ = [
    "RENEW_METHOD",
    "Enrollment",
    "RenewalStopped",
    "TokenExpired",
    "TokenSpent",
    "TokenWithdrawn",
    "UnknownToken",
]

RENEW_METHOD = "/inborn.v1.Authority/Renew"

_ADVICE = "ask the admin for a new one: inborn token create"


class UnknownToken(UnauthenticatedError):
    """No token of this CA has that key, or the proof is not by it."""


class TokenExpired(DeniedError):
    """The token's time is over."""


class TokenWithdrawn(DeniedError):
    """An admin took the token back."""


class TokenSpent(ConsequentialDenial):
    """All uses are taken by other keys."""


class RenewalStopped(ConsequentialDenial):
    """Two holders of one key were seen."""


class Enrollment:
    """Commands that give somebody a certificate that it renews itself."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    # -- by token ----------------------------------------------------------------------------------------------------

    def enroll(self, forwarded: signer_pb2.ForwardedEnroll) -> Callable[[Transaction, Changes], Finish]:
        """The command for an `EnrollRequest`; finishes with an `EnrollResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            token, public_key = self._believe_token(tx, forwarded.request)
            key_hash = key_sha256(public_key)
            member = self._take_use(tx, token, key_hash, forwarded.origin, changes)
            now = self._state.clock()
            self._state.requesters.put_key(tx, _requester(tx, public_key, member.spiffe_id))
            pending = self._certify(tx, member, public_key)
            actor = f"token:{token.id.hex()}"
            detail = {"serial": pending.prepared.serial.hex(), "name": member.name}
            action = f"{member.kind}.enroll"
            tx.audit.add(audit.row(now, actor, action, str(member.spiffe_id), detail=detail, origin=forwarded.origin))
            return lambda: self._response(pending, member.spiffe_id)

        return command

    def _believe_token(self, tx: Transaction, request: ca_pb2.EnrollRequest) -> tuple[Token, ec.EllipticCurvePublicKey]:
        if len(request.body) > MAX_BODY_SIZE or len(request.signature) != 64:
            raise RequestError("enrollment is too large, or its signature has not 64 octets")
        body = parse_message(ca_pb2.EnrollBody, request.body, "enrollment")
        if body.trust_domain != self._state.trust_domain.name:
            raise WrongRecipient(f"token is for trust domain {body.trust_domain!a}, this is {self._state.trust_domain}")
        token = tx.tokens.get(body.token_id)
        if token is None:
            raise UnknownToken("token is not one of this CA's", hint=_ADVICE)
        verify_octets(
            ed25519.Ed25519PublicKey.from_public_bytes(token.public_key),
            ENROLL_CONTEXT,
            request.body,
            request.signature,
        )
        return token, read_csr(body.csr)

    def _take_use(self, tx: Transaction, token: Token, key_hash: bytes, origin: str, changes: Changes) -> Member:
        now = self._state.clock()
        facts = {"actor": f"token:{token.id.hex()}"}
        if token.withdrawn_at is not None:
            raise TokenWithdrawn(
                f"token {token.id.hex()} was withdrawn at {moment(token.withdrawn_at)}", hint=_ADVICE, **facts
            )
        if now >= token.expires_at:
            raise TokenExpired(
                f"token {token.id.hex()} expired at {moment(token.expires_at)}, now {moment(now)}",
                hint=_ADVICE,
                **facts,
            )
        holder = tx.tokens.find_use(token.id, key_hash)
        if holder is not None:
            known = tx.members.get(holder)
            if known is None or known.banned_at is not None:
                raise DeniedError(f"{holder} is banned", **facts)
            return known
        used = tx.tokens.count_uses(token.id)
        if used >= token.uses:
            message = f"token {token.id.hex()} has been used {used} of {token.uses} times, now by another key"
            alarm = OpenAlarm(
                kind="token.second_key",
                subject=token.id.hex(),
                message=f"{message}, from {origin or 'unknown'}",
                at=now,
            )
            raise TokenSpent(message, hint=_ADVICE, consequences=(alarm,), **facts)
        member = self._new_member(tx, token, now, changes)
        self._state.requesters.put_member(tx, member)
        tx.tokens.add_use(token.id, key_hash, member.spiffe_id, now)
        return member

    def _new_member(self, tx: Transaction, token: Token, now: dt.datetime, changes: Changes) -> Member:
        spiffe_id = token.spiffe_id or self._state.trust_domain.id.child("inborn", "agent", str(uuid.uuid4()))
        before = tx.members.get(spiffe_id)
        name, groups = token.name, token.groups
        if before is not None:
            if before.banned_at is not None:
                raise DeniedError(f"{spiffe_id} is banned since {moment(before.banned_at)}")
            name, groups = name or before.name, groups or before.groups
            if before.kind is MemberKind.AGENT or before.stopped_at is not None:
                # Enrolled anew: what the same agent had ends here, and what two holders of one key had. A daemon may
                # have several instances of one ID, each with a token of its own.
                revoke_certificates_of(
                    self._state,
                    tx,
                    changes,
                    before.spiffe_id,
                    actor=f"token:{token.id.hex()}",
                    reason=SUPERSEDED,
                )
        changes.members.append(spiffe_id)
        return Member(
            spiffe_id=spiffe_id, kind=token.kind, enrolled_at=now, token_id=token.id, name=name, groups=groups
        )

    # -- by the certificate that it has ------------------------------------------------------------------------------

    def renew(self, forwarded: signer_pb2.ForwardedRequest) -> Callable[[Transaction, Changes], Finish]:
        """The command for a signed `RenewRequest`; finishes with an `EnrollResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            requester = believe(self._state, tx, forwarded.request, method=RENEW_METHOD)
            try:
                pending = self._renew(tx, requester, forwarded.origin)
            except DeniedError as e:
                e.facts.setdefault("actor", requester.actor)
                raise
            return lambda: self._response(pending, requester.member.spiffe_id)

        return command

    def _renew(self, tx: Transaction, requester: Requester, origin: str) -> Pending:
        request = parse_message(ca_pb2.RenewRequest, requester.payload, "renewal")
        public_key = read_csr(request.csr)
        successor = key_sha256(public_key)
        now = self._state.clock()
        who = requester.member.spiffe_id
        if requester.member.stopped_at is not None:
            raise RenewalStopped(
                f"renewal of {who} is stopped since {moment(requester.member.stopped_at)}: two holders of one key",
                hint="an admin enrolls it again: inborn token create --agent ID (or --id ID)",
            )
        if successor == requester.key.key_hash:
            raise RequestError("successor key is the same as the key that asks")
        if requester.key.successor is not None and requester.key.successor != successor:
            self._stop(requester, now, origin)
        self._state.requesters.put_key(tx, replace(requester.key, successor=successor))
        known = tx.members.requester(successor)
        if known is not None and known.spiffe_id != who:
            raise DeniedError(f"successor key of {who} is already that of {known.spiffe_id}")
        self._state.requesters.put_key(tx, known or _requester(tx, public_key, who))
        pending = self._certify(tx, requester.member, public_key)
        detail = {"serial": pending.prepared.serial.hex(), "predecessor": requester.certificate.serial.hex()}
        tx.audit.add(
            audit.row(now, requester.actor, f"{requester.member.kind}.renew", str(who), detail=detail, origin=origin)
        )
        return pending

    def _stop(self, requester: Requester, now: dt.datetime, origin: str) -> None:
        who = requester.member.spiffe_id
        message = f"two holders of one key of {who}: a second successor was asked for, from {origin or 'unknown'}"
        raise RenewalStopped(
            message,
            hint="an admin enrolls it again: inborn token create --agent ID (or --id ID)",
            consequences=(
                StopRenewals(member=requester.member, at=now),
                OpenAlarm(kind="renewal.two_holders", subject=str(who), message=message, at=now),
            ),
        )

    # -- both --------------------------------------------------------------------------------------------------------

    def _certify(self, tx: Transaction, member: Member, public_key: ec.EllipticCurvePublicKey) -> Pending:
        lifetimes = self._state.lifetimes
        if member.kind is MemberKind.AGENT:
            return self._state.certify(
                tx,
                kind=CertificateKind.AGENT,
                spiffe_id=member.spiffe_id,
                public_key=public_key,
                ttl=lifetimes.agent,
                node=member.spiffe_id,
            )
        return self._state.certify(
            tx,
            kind=CertificateKind.DAEMON,
            spiffe_id=member.spiffe_id,
            public_key=public_key,
            ttl=lifetimes.daemon,
        )

    def _response(self, pending: Pending, spiffe_id: SpiffeId) -> ca_pb2.EnrollResponse:
        leaf = pending.sign()
        self._state.issued_count += 1
        return ca_pb2.EnrollResponse(
            chain=[leaf, certificate_der(pending.issuer.certificate)],
            spiffe_id=str(spiffe_id),
            log_id=self._state.log_id,
            roots=self._state.bundle.ders(),
        )


def _requester(tx: Transaction, public_key: ec.EllipticCurvePublicKey, spiffe_id: SpiffeId) -> RequesterKey:
    """The key's row as it is, or a new one."""
    spki = spki_of(public_key)
    key_hash = key_sha256(public_key)
    known = tx.members.requester(key_hash)
    if known is not None:
        if known.spiffe_id != spiffe_id:
            raise DeniedError(f"key is already that of {known.spiffe_id}")
        return known
    return RequesterKey(key_hash=key_hash, spki=spki, spiffe_id=spiffe_id)
