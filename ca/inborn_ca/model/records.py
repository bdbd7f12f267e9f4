"""The rows that services and store speak of, as values. Times are aware UTC datetimes; serials big-endian bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import InternalError

__all__ = [
    "Alarm",
    "AuditRow",
    "AuthorityRecord",
    "Block",
    "BlockKind",
    "CertificateKind",
    "Expansion",
    "Finding",
    "FindingKind",
    "Issued",
    "Member",
    "MemberKind",
    "RequesterKey",
    "RevocationRecord",
    "SvidKind",
    "Token",
]


class SvidKind(StrEnum):
    """What an SVID is. Every kind has a row in the ledger before it is signed, and is revoked by the same targets."""

    X509 = "x509"
    JWT = "jwt"


class CertificateKind(StrEnum):
    """For whom an SVID was issued."""

    WORKLOAD = "workload"
    AGENT = "agent"
    DAEMON = "daemon"
    FRONT = "front"
    LOG = "log"
    HEALTH = "health"


class MemberKind(StrEnum):
    AGENT = "agent"
    DAEMON = "daemon"


class BlockKind(StrEnum):
    """What a block stops; the value beside it is text (an ID, a hex digest, a UUID, a selector)."""

    ID = "id"
    ID_PREFIX = "id-prefix"
    KEY = "key"
    ENTRY = "entry"
    NODE = "node"
    SELECTOR = "selector"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRecord:
    """A root or issuing authority. `key_id` is its subject key identifier, which also names its key file."""

    key_id: bytes
    state: AuthorityState
    certificate: x509.Certificate
    created_at: dt.datetime
    activated_at: dt.datetime | None = None
    crl: bytes = b""
    crl_number: int = 0
    crl_this_update: dt.datetime | None = None
    crl_next_update: dt.datetime | None = None
    ca_id: str = ""
    """Whose issuing authority it is, where several CAs share a database; empty for a root, which is everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A join token's public half and its terms."""

    id: bytes
    public_key: bytes
    kind: MemberKind
    uses: int
    created_at: dt.datetime
    expires_at: dt.datetime
    created_by: str
    spiffe_id: SpiffeId | None = None
    """For a daemon: the ID that it enrolls under. For an agent: the agent to enroll anew, or None for a new one."""
    name: str = ""
    groups: tuple[str, ...] = ()
    withdrawn_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who holds a certificate that it renews itself: an agent, or a daemon without one."""

    spiffe_id: SpiffeId
    kind: MemberKind
    enrolled_at: dt.datetime
    attested_by: str = ""
    """The kind of the evidence that it enrolled with; empty where that is not known (a finding of a restore)."""
    attested_subject: str = ""
    """Which evidence of that kind: a token's ID, a certificate's fingerprint."""
    name: str = ""
    groups: tuple[str, ...] = ()
    selectors: tuple[Selector, ...] = ()
    """What the evidence said of the node."""
    banned_at: dt.datetime | None = None
    stopped_at: dt.datetime | None = None
    """When two holders of one key were seen; it does not renew until it is enrolled again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterKey:
    """A key that signs requests: agents' and enrolled daemons'. `successor` is the one key that may follow it."""

    key_hash: bytes
    spki: bytes
    spiffe_id: SpiffeId
    last_number: int = 0
    used_numbers: int = 0
    """Which of the numbers up to `last_number` have been used: see `request_numbers`."""
    successor: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One SVID of the ledger: what every kind has, and below what only some have."""

    serial: bytes
    """Rising, as `certificates.serial` makes it: a certificate's serial number, another SVID's id."""
    spiffe_id: SpiffeId
    kind: CertificateKind
    authority: bytes
    """Key identifier of the authority that signed it."""
    issued_at: dt.datetime
    not_after: dt.datetime
    entry_id: str = ""
    node: SpiffeId | None = None
    selectors: tuple[Selector, ...] = ()
    svid_kind: SvidKind = SvidKind.X509

    key_hash: bytes = b""
    """SHA-256 of its public key; of an SVID that is bound to no key, empty."""

    def __post_init__(self) -> None:
        if not self.key_hash and self.svid_kind is SvidKind.X509:
            raise InternalError(f"X.509 certificate {self.serial.hex()} has no key")


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRecord:
    seq: int
    kind: RevocationKind
    value: bytes
    cut_offs: Mapping[bytes, bytes | None]
    reason: int
    blocks: bool
    actor: str
    note: str
    revoked_at: dt.datetime
    alive_until: dt.datetime
    """When the last certificate that it could touch has expired."""
    dropped_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    kind: BlockKind
    value: str
    since: dt.datetime
    actor: str
    revocation_seq: int = 0

    @property
    def target(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A target that peers cannot see, being turned into serials; goes on from `after_serial` after a crash."""

    id: int
    kind: BlockKind
    value: str
    cut_offs: Mapping[bytes, bytes | None]
    reason: int
    actor: str
    note: str
    started_at: dt.datetime
    after_serial: bytes = b""
    revoked: int = 0
    revocation_seq: int = 0
    """Of the last revocation that it made."""
    finished_at: dt.datetime | None = None

    @property
    def target(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One change or denial. `id` is 0 until it is stored."""

    at: dt.datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object] = field(default_factory=dict)
    origin: str = ""
    count: int = 1
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An audit row that stays open until somebody acknowledges it."""

    id: int
    kind: str
    subject: str
    message: str
    opened_at: dt.datetime
    count: int = 1
    acknowledged_at: dt.datetime | None = None
    acknowledged_by: str = ""


class FindingKind(StrEnum):
    REVOCATION = "revocation"
    """A denial of the former log: in force since it was found."""
    CERTIFICATE = "certificate"
    """An agent's certificate without a row: good for nothing until it is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an agent knew and a restored database did not."""

    kind: FindingKind
    subject: str
    """A revocation's target, or the serial in hex."""
    reporter: SpiffeId
    found_at: dt.datetime
    id: int = 0
    revocation_seq: int = 0
    """Of the revocation that it became."""
    certificate: bytes = field(default=b"", repr=False)
    """DER of the leaf."""
    number: int = 0
    """The highest number of a request that it signed here."""
    accepted_at: dt.datetime | None = None
    accepted_by: str = ""
