"""A token is believed when the enrollment is signed by its key. Each use is bound to the key of the CSR: the same key
may ask again (a lost reply), another one takes another use, and beyond the last one it is refused and an alarm is
raised. The token's secret never crosses the wire.
"""

from __future__ import annotations

import datetime as dt

from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.enrollment.join_token import KIND
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.wire.signed_request import verify_octets
from inborn.errors import DeniedError, RequestError, UnauthenticatedError, moment
from inborn_ca.model.records import Member, Token
from inborn_ca.signer.commands.node_attestors.node_attestor import AttestedNode, ShownEvidence
from inborn_ca.signer.consequences import ConsequentialDenial, OpenAlarm
from inborn_ca.store.interface import Transaction

__all__ = ["JoinTokenAttestor", "TokenExpired", "TokenSpent", "TokenWithdrawn", "UnknownToken"]

_ADVICE = "ask the admin for a new one: inborn token create"


class UnknownToken(UnauthenticatedError):
    """No token of this CA has that key, or the proof is not by it."""


class TokenExpired(DeniedError):
    """The token's time is over."""


class TokenWithdrawn(DeniedError):
    """An admin took the token back."""


class TokenSpent(ConsequentialDenial):
    """All uses are taken by other keys."""


class JoinTokenAttestor:
    """The kind `join_token`. Its evidence is a token's ID."""

    kind = KIND
    needs_challenge = False  # a use is bound to one key, and its enrollment gives nothing to anybody else

    def __init__(self, trust_domain: TrustDomain) -> None:
        self._trust_domain = trust_domain

    def attest(self, evidence: ShownEvidence, *, now: dt.datetime, tx: Transaction) -> AttestedNode:
        """Raises `UnknownToken`, `BadSignature`, `TokenWithdrawn`, `TokenExpired`, `TokenSpent`."""
        if len(evidence.proof) != 64:
            raise RequestError(f"proof by a token has {len(evidence.proof)} bytes, not 64")
        token = tx.tokens.get(evidence.octets)
        if token is None:
            raise UnknownToken("token is not one of this CA's", hint=_ADVICE)
        key = ed25519.Ed25519PublicKey.from_public_bytes(token.public_key)
        verify_octets(key, enroll_context(self.kind), evidence.body, evidence.proof)
        _check_open(token, now)
        holder = tx.tokens.find_use(token.id, evidence.key_hash)
        if holder is None:
            _check_uses(tx, token, now, evidence.origin)
        return AttestedNode(
            subject=token.id.hex(),
            actor=_actor(token),
            member=token.kind,
            spiffe_id=token.spiffe_id,
            name=token.name,
            groups=token.groups,
            holder=holder,
        )

    def enrolled(
        self, node: AttestedNode, spiffe_id: SpiffeId, key_hash: bytes, *, now: dt.datetime, tx: Transaction
    ) -> None:
        tx.tokens.add_use(bytes.fromhex(node.subject), key_hash, spiffe_id, now)

    def shut_out(self, member: Member, *, now: dt.datetime, tx: Transaction) -> None:
        """Withdraws the token that it came with, which may have uses left, and those that were made for it."""
        for token in tx.tokens.all():
            is_its = member.attested_by == self.kind and token.id.hex() == member.attested_subject
            if (is_its or token.spiffe_id == member.spiffe_id) and token.withdrawn_at is None:
                tx.tokens.withdraw(token.id, now)


def _actor(token: Token) -> str:
    return f"token:{token.id.hex()}"


def _check_open(token: Token, now: dt.datetime) -> None:
    actor = _actor(token)
    if token.withdrawn_at is not None:
        raise TokenWithdrawn(
            f"token {token.id.hex()} was withdrawn at {moment(token.withdrawn_at)}", hint=_ADVICE, actor=actor
        )
    if now >= token.expires_at:
        raise TokenExpired(
            f"token {token.id.hex()} expired at {moment(token.expires_at)}, now {moment(now)}",
            hint=_ADVICE,
            actor=actor,
        )


def _check_uses(tx: Transaction, token: Token, now: dt.datetime, origin: str) -> None:
    used = tx.tokens.count_uses(token.id)
    if used < token.uses:
        return
    message = f"token {token.id.hex()} has been used {used} of {token.uses} times, now by another key"
    alarm = OpenAlarm(
        kind="token.second_key",
        subject=token.id.hex(),
        message=f"{message}, from {origin or 'unknown'}",
        at=now,
    )
    raise TokenSpent(message, hint=_ADVICE, consequences=(alarm,), actor=_actor(token))
