"""One revocation: what it names, and how far it reaches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import RequestError

__all__ = ["InvalidRevocation", "Revocation", "RevocationKind"]


class InvalidRevocation(RequestError):
    """A revocation has a target that no certificate can have, and would never match."""


class RevocationKind(Enum):
    """What a revocation matches. The numbers are those of the wire."""

    SERIAL = 1
    KEY = 2
    SPIFFE_ID = 3
    ID_PREFIX = 4
    AUTHORITY = 5


# Bytes of a target: SHA-256, a key identifier (SHA-1 has 20, SHA-512 has 64).
_VALUE_SIZES = {RevocationKind.KEY: range(32, 33), RevocationKind.AUTHORITY: range(1, 65)}
_MAX_SERIAL_SIZE = 20  # bytes, RFC 5280 4.1.2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One revocation: valid if it exists.

    `value` is bytes as on the wire (serial without leading zeros, SHA-256, ID in UTF-8, key identifier). Raises
    `InvalidRevocation`: a revocation that can never match must not look like a denial.
    """

    seq: int
    kind: RevocationKind
    value: bytes
    cut_offs: Mapping[bytes, bytes | None]
    """Authority -> highest serial touched; None: all of it. An authority that is not named is not touched."""
    reason: int = 0
    blocks: bool = False
    revoked_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        if self.seq < 1:
            raise InvalidRevocation(f"revocation's seq is not positive: {self.seq}")
        if self.kind is RevocationKind.SERIAL:
            if not 1 <= len(self.value) <= _MAX_SERIAL_SIZE:
                raise InvalidRevocation(f"revocation {self.seq} has a serial of {len(self.value)} bytes")
            if self.value[0] == 0:
                raise InvalidRevocation(f"revocation {self.seq} has a serial with leading zeros: {self.value.hex()}")
        elif self.kind in (RevocationKind.SPIFFE_ID, RevocationKind.ID_PREFIX):
            try:
                parse_spiffe_id(self.value.decode())
            except (UnicodeDecodeError, InvalidSpiffeId) as e:
                raise InvalidRevocation(f"revocation {self.seq} names no SPIFFE ID") from e
        elif len(self.value) not in _VALUE_SIZES[self.kind]:
            raise InvalidRevocation(f"revocation {self.seq} has a {self.kind.name.lower()} of {len(self.value)} bytes")

    def touches(self, facts: CertificateFacts) -> bool:
        """Whether the certificate lies at or below the cut-off; the target is not looked at."""
        if facts.authority not in self.cut_offs:
            return False
        limit = self.cut_offs[facts.authority]
        return limit is None or _number(facts.serial) <= _number(limit)

    def matches(self, facts: CertificateFacts) -> bool:
        """Whether the revocation's target is this certificate's, and the cut-off touches it.

        Nothing of Inborn's own falls under a revocation by ID or prefix: the verbs for agents and authorities name
        serials and keys.
        """
        match self.kind:
            case RevocationKind.SERIAL:
                hit = self.value == facts.serial
            case RevocationKind.KEY:
                hit = self.value == facts.key_hash
            case RevocationKind.SPIFFE_ID:
                hit = self.value == str(facts.spiffe_id).encode() and not facts.spiffe_id.is_reserved
            case RevocationKind.ID_PREFIX:
                hit = not facts.spiffe_id.is_reserved and facts.spiffe_id.is_at_or_below(
                    parse_spiffe_id(self.value.decode())
                )
            case RevocationKind.AUTHORITY:
                hit = self.value == facts.authority
        return hit and self.touches(facts)

    def covers(self, other: Revocation) -> bool:
        """Whether every certificate that `other` matches is matched by this revocation of the same target as well."""
        return (
            (self.kind, self.value) == (other.kind, other.value)
            and (self.blocks or not other.blocks)
            and all(
                authority in self.cut_offs and _reaches(self.cut_offs[authority], limit)
                for authority, limit in other.cut_offs.items()
            )
        )

    @property
    def target(self) -> str:
        """The target as people read and type it: `serial:HEX`, `key:HEX`, `id:spiffe://...`."""
        match self.kind:
            case RevocationKind.SPIFFE_ID:
                return f"id:{self.value.decode()}"
            case RevocationKind.ID_PREFIX:
                return f"id-prefix:{self.value.decode()}"
            case _:
                return f"{self.kind.name.lower()}:{self.value.hex()}"


def _reaches(limit: bytes | None, other: bytes | None) -> bool:
    """Whether a cut-off touches all that another one touches."""
    return limit is None or (other is not None and _number(other) <= _number(limit))


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
