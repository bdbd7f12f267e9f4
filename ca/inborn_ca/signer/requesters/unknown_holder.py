"""Who asks with a certificate of ours that a restored database has no row for: proven by its chain, and by no more.

After a restore, agents come that renewed (or enrolled) after the backup was made. Their certificates lead to our root;
their serials lie above everything that the backup knew; none is of an authority that signs now, because what that one
signs has a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts, parse_chain
from inborn._internal.verification.verify import verify_chain
from inborn._internal.wire.signed_request import REQUEST_CONTEXT, verify_octets
from inborn.errors import moment
from inborn_ca.certificates.profile import SERIAL_OCTETS
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.signer.requesters.signed import Banned, UnknownRequester
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import signed_pb2

__all__ = ["FORMER_SERIAL", "UnknownHolder", "believe_chain"]

FORMER_SERIAL = "former_serial"
"""In the database's meta: the state of its serials when it was restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownHolder:
    """An agent's certificate that has no row, and whose key has signed the request."""

    facts: CertificateFacts
    leaf: bytes
    """DER."""


def believe_chain(
    state: SignerState, tx: Transaction, signed: signed_pb2.SignedRequest, serial: bytes, chain: Sequence[bytes]
) -> UnknownHolder:
    """Check the proof of an agent whose certificate has no row. Raises `UnknownRequester`, `Banned`, and what
    `verify_chain` raises. Not checked: the request's number, because there is nothing yet that it could be kept with.
    """
    facts = verify_chain(
        parse_chain(chain),
        bundles={state.trust_domain: state.bundle},
        revocations=state.revocations,
        authorize=_is_agent,
        now=state.clock(),
    )
    verify_octets(parse_chain(chain)[0].public_key(), REQUEST_CONTEXT, signed.body, signed.signature)
    floor = tx.meta.get(FORMER_SERIAL)
    if facts.serial != serial or tx.ledger.get(serial) is not None or not floor:
        raise UnknownRequester(f"certificate {serial.hex()} is not one that a restore has left without a row")
    ceiling = SerialSource.from_state(floor).ceiling
    if len(serial) != SERIAL_OCTETS or serial <= ceiling:
        raise UnknownRequester(f"certificate {serial.hex()} was not made after the backup")
    signs = (AuthorityState.ACTIVE, AuthorityState.PREPARED)
    if any(a.key_id == facts.authority and a.state in signs for a in state.authorities):
        raise UnknownRequester(f"certificate {serial.hex()} is of an authority that signs now, and has no row")
    member = state.requesters.member(tx, facts.spiffe_id)
    if member is not None and member.banned_at is not None:
        raise Banned(f"{facts.spiffe_id} is banned since {moment(member.banned_at)}")
    return UnknownHolder(facts=facts, leaf=bytes(chain[0]))


def _is_agent(spiffe_id: SpiffeId) -> bool:
    return spiffe_id.path.startswith(RESERVED_PREFIX + "agent/")
