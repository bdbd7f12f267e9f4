"""What a revocation aims at, read from a request: exactly one target, and what it means for revocation and block.

Peers see serial, key, ID and prefix in a certificate: these become a revocation that travels. Entry, agent and selector
are known to the ledger alone: they become a block, and an expansion into serials.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from inborn._internal.revocation.reason import KEY_COMPROMISE
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId, from_operator_input
from inborn.errors import NotFoundError, RequestError
from inborn_ca.model.records import BlockKind, CertificateKind
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.signer.commands.authority_order import find_issuing
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader
from inborn_proto import admin_pb2

__all__ = ["Target", "octets_of_hex", "parse_target"]

_FIELDS = ("serial", "spiffe_id", "key", "id_prefix", "entry", "agent", "selector", "authority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`revocation` is None where peers cannot see the target: it is expanded. A serial and an authority have no
    block."""

    revocation: RevocationKind | None
    value: bytes
    block: BlockKind
    block_value: str
    spiffe_id: SpiffeId | None = None
    """Of a target by ID."""

    @property
    def can_block(self) -> bool:
        return bool(self.block_value)


def parse_target(state: SignerState, reader: Reader, request: admin_pb2.RevokeRequest, *, reason: int) -> Target:
    """Read the one target of a request. Raises `RequestError`, `NotFoundError`."""
    named = [field for field in _FIELDS if getattr(request, field)]
    if len(named) != 1:
        raise RequestError(f"name exactly one target of {', '.join(_FIELDS)}; {len(named)} are named")
    match named[0]:
        case "serial":
            return _serial(state, reader, request.serial, reason)
        case "key":
            return _key(octets_of_hex(request.key, "key"))
        case "spiffe_id":
            spiffe_id = _own_id(state, request.spiffe_id)
            if not spiffe_id.path:
                raise RequestError(f"{spiffe_id} is a trust domain and no identity", hint="all of it: --id-prefix")
            return Target(
                revocation=RevocationKind.SPIFFE_ID,
                value=str(spiffe_id).encode(),
                block=BlockKind.ID,
                block_value=str(spiffe_id),
                spiffe_id=spiffe_id,
            )
        case "id_prefix":
            prefix = str(_own_id(state, request.id_prefix))
            return Target(
                revocation=RevocationKind.ID_PREFIX,
                value=prefix.encode(),
                block=BlockKind.ID_PREFIX,
                block_value=prefix,
            )
        case "entry":
            return _expanded(BlockKind.ENTRY, _entry_id(request.entry))
        case "authority":
            key_id = find_issuing(state, request.authority).key_id
            return Target(revocation=RevocationKind.AUTHORITY, value=key_id, block=BlockKind.KEY, block_value="")
        case "agent":
            return _expanded(BlockKind.NODE, str(find_agent(reader, request.agent).spiffe_id))
        case _:
            return _expanded(BlockKind.SELECTOR, str(parse_selector(request.selector)))


def octets_of_hex(text: str, what: str) -> bytes:
    """A serial as a person writes it (with or without colons and leading zeros) as bytes without leading zeros."""
    cleaned = text.replace(":", "").strip().lower()
    try:
        if not cleaned or len(cleaned) > 64:
            raise ValueError
        return bytes.fromhex(cleaned if len(cleaned) % 2 == 0 else "0" + cleaned).lstrip(b"\0")
    except ValueError as e:
        raise RequestError(f"{what} is not hexadecimal: {text[:80]!a}") from e


def _serial(state: SignerState, reader: Reader, text: str, reason: int) -> Target:
    serial = octets_of_hex(text, "serial")
    row = reader.ledger.get(serial)
    if row is None:
        raise NotFoundError(f"no certificate has serial {serial.hex()}")
    if row.kind in (CertificateKind.FRONT, CertificateKind.LOG) and row.not_after > state.clock():
        raise RequestError(f"certificate {serial.hex()} is the CA's own ({row.spiffe_id})")
    if reason == KEY_COMPROMISE and row.key_hash:  # an SVID that is bound to no key is its serial
        return _key(row.key_hash)
    return Target(revocation=RevocationKind.SERIAL, value=serial, block=BlockKind.KEY, block_value="")


def _key(octets: bytes) -> Target:
    if len(octets) > 32:
        raise RequestError(f"key is a SHA-256 of 32 bytes, not {len(octets)}")
    key_hash = octets.rjust(32, b"\0")
    return Target(revocation=RevocationKind.KEY, value=key_hash, block=BlockKind.KEY, block_value=key_hash.hex())


def _expanded(kind: BlockKind, value: str) -> Target:
    return Target(revocation=None, value=b"", block=kind, block_value=value)


def _own_id(state: SignerState, text: str) -> SpiffeId:
    spiffe_id = from_operator_input(text)
    if spiffe_id.trust_domain != state.trust_domain:
        raise RequestError(f"{spiffe_id} is not of trust domain {state.trust_domain}")
    if spiffe_id.is_reserved or spiffe_id.path == RESERVED_PREFIX.rstrip("/"):
        raise RequestError(f"{spiffe_id} is reserved and not revoked by ID", hint="for an agent: inborn agent ban ID")
    return spiffe_id


def _entry_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as e:
        raise RequestError(f"entry is no UUID: {text[:80]!a}") from e
