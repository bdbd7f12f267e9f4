"""Who is asking: the proofs that the signer believes, and nothing else.

A signed request is believed when its signature is that of the key of a certificate in our own ledger, for an agent or
an enrolled daemon, which has not expired, is not revoked, whose holder is not banned, and whose number this
key has not used. What the front says about the caller plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from inborn._internal.verification.verify import verify_current
from inborn._internal.wire.messages import parse_message
from inborn._internal.wire.signed_request import MAX_BODY_SIZE, REQUEST_CONTEXT, verify_octets
from inborn.errors import DeniedError, RequestError, UnauthenticatedError, moment
from inborn_ca.model.records import CertificateKind, Issued, Member, RequesterKey
from inborn_ca.model.request_numbers import take
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import signed_pb2

__all__ = [
    "Banned",
    "LogChanged",
    "ReplayedRequest",
    "Requester",
    "UnknownRequester",
    "WrongRecipient",
    "believe",
    "read_body",
]


MAX_NUMBER = 2**62  # what the ledger can hold, and far beyond microseconds since 1970


class UnknownRequester(UnauthenticatedError):
    """The serial is not that of an agent or an enrolled daemon of ours."""


class WrongRecipient(RequestError):
    """A request was signed for another trust domain or another method."""


class LogChanged(DeniedError):
    """The requester knows another incarnation of this CA's database."""


class ReplayedRequest(UnauthenticatedError):
    """A request's number has been used."""


class Banned(DeniedError):
    """An admin keeps this agent out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Whoever signed the request, proven."""

    member: Member
    certificate: Issued
    key: RequesterKey
    payload: bytes

    @property
    def actor(self) -> str:
        """As the audit trail names it."""
        return f"{self.member.kind}:{self.member.spiffe_id}"


def believe(state: SignerState, tx: Transaction, signed: signed_pb2.SignedRequest, *, method: str) -> Requester:
    """Check the proof, use up its number, and say who asks.

    Raises `RequestError` and its kin for what cannot be read, `UnauthenticatedError` and its kin for what is not
    proven, `Banned`. The number stays used when the command is refused later, so a request cannot be sent again.
    """
    body = read_body(signed)
    if body.trust_domain != state.trust_domain.name:
        raise WrongRecipient(f"request is for trust domain {body.trust_domain!a}, this is {state.trust_domain}")
    if body.method != method:
        raise WrongRecipient(f"request was signed for {body.method!a}, not for {method}")
    row = state.requesters.row(tx, body.serial)
    key = state.requesters.key(tx, row.key_hash) if row is not None else None
    if row is None or key is None or row.kind not in (CertificateKind.AGENT, CertificateKind.DAEMON):
        raise UnknownRequester(f"serial {body.serial.hex()} is not that of an agent or enrolled daemon of this CA")
    verify_octets(_public_key(key.spki), REQUEST_CONTEXT, signed.body, signed.signature)
    verify_current(state.facts(row), revocations=state.revocations, now=state.clock())
    member = state.requesters.member(tx, row.spiffe_id)
    if member is None:
        raise UnknownRequester(f"{row.spiffe_id} is not enrolled")
    if member.banned_at is not None:
        raise Banned(f"{row.spiffe_id} is banned since {moment(member.banned_at)}")
    if body.log_id != state.log_id:
        raise LogChanged(
            f"request is for log {body.log_id.hex()}, this is {state.log_id.hex()}",
            hint="the CA was restored from a backup; ask again with the log_id of the stream",
        )
    taken = take(key.last_number, key.used_numbers, body.number)
    if taken is None:
        raise ReplayedRequest(
            f"request number {body.number} of {row.spiffe_id} was used or is too old, the last is {key.last_number}"
        )
    key = state.requesters.use_number(key, *taken)
    return Requester(member=member, certificate=row, key=key, payload=body.payload)


@lru_cache(maxsize=10_000)
def _public_key(spki: bytes) -> PublicKeyTypes:
    """A key of ours, loaded once: 11 us less a request."""
    return load_der_public_key(spki)


def read_body(signed: signed_pb2.SignedRequest) -> signed_pb2.SignedBody:
    """The body of a request, within its limits; nothing of it is proven. Raises `RequestError`."""
    if len(signed.body) > MAX_BODY_SIZE:
        raise RequestError(f"signed request is larger than {MAX_BODY_SIZE} bytes: {len(signed.body)}")
    if not 1 <= len(signed.signature) <= 256:
        raise RequestError(f"signature has {len(signed.signature)} bytes")
    body = parse_message(signed_pb2.SignedBody, signed.body, "signed request")
    if body.number > MAX_NUMBER:
        raise RequestError(f"request number is above {MAX_NUMBER}: {body.number}")
    if not 1 <= len(body.serial) <= 20:
        raise RequestError(f"serial has {len(body.serial)} bytes, must have 1 to 20")
    return body
