"""Rows and values: how each record lies in its table. No statement is run here."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.selectors.demand import parse_demand
from inborn._internal.selectors.selector import Selector, parse_selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.records import (
    Alarm,
    AuditRow,
    AuthorityRecord,
    CertificateKind,
    Member,
    MemberKind,
    RequesterKey,
    Token,
)
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch
from inborn_ca.model.request_numbers import WINDOW_OCTETS

__all__ = [
    "ALARM_COLUMNS",
    "AUDIT_COLUMNS",
    "AUTHORITY_COLUMNS",
    "ENTRY_COLUMNS",
    "KINDS",
    "KIND_NUMBERS",
    "MEMBER_COLUMNS",
    "POSTURE_POLICY_COLUMNS",
    "REQUESTER_COLUMNS",
    "TOKEN_COLUMNS",
    "Row",
    "alarm",
    "alike",
    "audit",
    "audit_row",
    "authority",
    "authority_row",
    "entry",
    "entry_row",
    "from_micros",
    "id_or_none",
    "json_text",
    "member",
    "member_row",
    "micros_or_none",
    "posture_policy",
    "posture_policy_row",
    "requester",
    "requester_row",
    "selectors",
    "selectors_text",
    "time_or_none",
    "to_micros",
    "token",
    "token_row",
]

Row = tuple[Any, ...]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICRO = dt.timedelta(microseconds=1)
_MINUTE = 60_000_000

KIND_NUMBERS = {
    CertificateKind.WORKLOAD: 1,
    CertificateKind.AGENT: 2,
    CertificateKind.DAEMON: 3,
    CertificateKind.FRONT: 4,
    CertificateKind.LOG: 5,
    CertificateKind.HEALTH: 6,
}
"""As they lie in the ledger; a number is never used anew."""
KINDS = {number: kind for kind, number in KIND_NUMBERS.items()}


def to_micros(time: dt.datetime) -> int:
    return (time - _EPOCH) // _MICRO


def from_micros(micros: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=micros)


def micros_or_none(time: dt.datetime | None) -> int | None:
    return None if time is None else to_micros(time)


def time_or_none(micros: int | None) -> dt.datetime | None:
    return None if micros is None else from_micros(micros)


def id_or_none(text: str | None) -> SpiffeId | None:
    return None if text is None else parse_spiffe_id(text)


def json_text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def selectors_text(values: Sequence[Selector]) -> str:
    return json_text([str(value) for value in values])


def selectors(text: str) -> tuple[Selector, ...]:
    return tuple(parse_selector(value) for value in json.loads(text))


AUTHORITY_COLUMNS = (
    "key_id, state, certificate, created_at, activated_at, crl, crl_number, crl_this_update, crl_next_update"
)


def authority_row(record: AuthorityRecord) -> Row:
    return (
        record.key_id,
        str(record.state),
        record.certificate.public_bytes(Encoding.DER),
        to_micros(record.created_at),
        micros_or_none(record.activated_at),
        record.crl,
        record.crl_number,
        micros_or_none(record.crl_this_update),
        micros_or_none(record.crl_next_update),
    )


def authority(row: Row) -> AuthorityRecord:
    key_id, state, certificate, created_at, activated_at, crl, number, this_update, next_update = row
    return AuthorityRecord(
        key_id=key_id,
        state=AuthorityState(state),
        certificate=x509.load_der_x509_certificate(certificate),
        created_at=from_micros(created_at),
        activated_at=time_or_none(activated_at),
        crl=crl,
        crl_number=number,
        crl_this_update=time_or_none(this_update),
        crl_next_update=time_or_none(next_update),
    )


TOKEN_COLUMNS = "id, public_key, kind, uses, created_at, expires_at, created_by, spiffe_id, name, groups, withdrawn_at"  # noqa: S105


def token_row(record: Token) -> Row:
    return (
        record.id,
        record.public_key,
        str(record.kind),
        record.uses,
        to_micros(record.created_at),
        to_micros(record.expires_at),
        record.created_by,
        None if record.spiffe_id is None else str(record.spiffe_id),
        record.name,
        json_text(record.groups),
        micros_or_none(record.withdrawn_at),
    )


def token(row: Row) -> Token:
    id_, public_key, kind, uses, created_at, expires_at, created_by, spiffe_id, name, groups, withdrawn_at = row
    return Token(
        id=id_,
        public_key=public_key,
        kind=MemberKind(kind),
        uses=uses,
        created_at=from_micros(created_at),
        expires_at=from_micros(expires_at),
        created_by=created_by,
        spiffe_id=id_or_none(spiffe_id),
        name=name,
        groups=tuple(json.loads(groups)),
        withdrawn_at=time_or_none(withdrawn_at),
    )


MEMBER_COLUMNS = (
    "spiffe_id, kind, enrolled_at, attested_by, attested_subject, name, groups, selectors, banned_at, stopped_at"
)


def member_row(record: Member) -> Row:
    return (
        str(record.spiffe_id),
        str(record.kind),
        to_micros(record.enrolled_at),
        record.attested_by,
        record.attested_subject,
        record.name,
        json_text(record.groups),
        selectors_text(record.selectors),
        micros_or_none(record.banned_at),
        micros_or_none(record.stopped_at),
    )


def member(row: Row) -> Member:
    spiffe_id, kind, enrolled_at, attested_by, subject, name, groups, selector_text, banned_at, stopped_at = row
    return Member(
        spiffe_id=parse_spiffe_id(spiffe_id),
        kind=MemberKind(kind),
        enrolled_at=from_micros(enrolled_at),
        attested_by=attested_by,
        attested_subject=subject,
        name=name,
        groups=tuple(json.loads(groups)),
        selectors=selectors(selector_text),
        banned_at=time_or_none(banned_at),
        stopped_at=time_or_none(stopped_at),
    )


REQUESTER_COLUMNS = "key_hash, spki, spiffe_id, last_number, used_numbers, successor"


def requester_row(record: RequesterKey) -> Row:
    return (
        record.key_hash,
        record.spki,
        str(record.spiffe_id),
        record.last_number,
        record.used_numbers.to_bytes(WINDOW_OCTETS, "big"),
        record.successor,
    )


def requester(row: Row) -> RequesterKey:
    key_hash, spki, spiffe_id, last_number, used_numbers, successor = row
    return RequesterKey(
        key_hash=key_hash,
        spki=spki,
        spiffe_id=parse_spiffe_id(spiffe_id),
        last_number=last_number,
        used_numbers=int.from_bytes(used_numbers, "big"),
        successor=successor,
    )


ENTRY_COLUMNS = (
    "id, spiffe_id, selectors, node_kind, node_value, ttl, dns_names, common_name, hint, admin, revoke_when_lost, "
    "revision, created_at, updated_at"
)


def entry_row(record: Entry) -> Row:
    return (
        record.id,
        str(record.spiffe_id),
        selectors_text(sorted(record.selectors)),
        str(record.node.kind),
        record.node.value,
        record.ttl // _MICRO,
        json_text(record.dns_names),
        record.common_name,
        record.hint,
        int(record.admin),
        int(record.revoke_when_lost),
        record.revision,
        to_micros(record.created_at),
        to_micros(record.updated_at),
    )


def entry(row: Row) -> Entry:
    (
        id_, spiffe_id, selector_text, node_kind, node_value, ttl, dns_names, common_name, hint, admin,
        revoke_when_lost, revision, created_at, updated_at,
    ) = row  # fmt: skip
    return Entry(
        id=id_,
        spiffe_id=parse_spiffe_id(spiffe_id),
        selectors=frozenset(selectors(selector_text)),
        node=NodeMatch(kind=NodeKind(node_kind), value=node_value),
        ttl=dt.timedelta(microseconds=ttl),
        dns_names=tuple(json.loads(dns_names)),
        common_name=common_name,
        hint=hint,
        admin=bool(admin),
        revoke_when_lost=bool(revoke_when_lost),
        revision=revision,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
    )


POSTURE_POLICY_COLUMNS = "id, prefix, demands, note, created_at, created_by"


def posture_policy_row(record: PosturePolicy) -> Row:
    return (
        record.id,
        str(record.prefix),
        json_text([str(demand) for demand in record.demands]),
        record.note,
        to_micros(record.created_at),
        record.created_by,
    )


def posture_policy(row: Row) -> PosturePolicy:
    id_, prefix, demands, note, created_at, created_by = row
    return PosturePolicy(
        id=id_,
        prefix=parse_spiffe_id(prefix),
        demands=tuple(parse_demand(text) for text in json.loads(demands)),
        note=note,
        created_at=from_micros(created_at),
        created_by=created_by,
    )


AUDIT_COLUMNS = "id, at, actor, action, subject, detail, origin, count"


def audit_row(record: AuditRow) -> Row:
    """Without the id, which the table gives."""
    return (
        to_micros(record.at),
        record.actor,
        record.action,
        record.subject,
        json_text(dict(record.detail)),
        record.origin,
        record.count,
    )


def audit(row: Row) -> AuditRow:
    id_, at, actor, action, subject, detail, origin, count = row
    return AuditRow(
        id=id_,
        at=from_micros(at),
        actor=actor,
        action=action,
        subject=subject,
        detail=json.loads(detail),
        origin=origin,
        count=count,
    )


def alike(record: AuditRow) -> bytes:
    """What rows of one minute have in common that become one row with a count."""
    parts = (
        record.actor,
        record.action,
        record.subject,
        str(record.detail.get("kind", "")),
        to_micros(record.at) // _MINUTE,
    )
    return hashlib.sha256(json_text(parts).encode()).digest()[:16]


ALARM_COLUMNS = "id, kind, subject, message, opened_at, count, acknowledged_at, acknowledged_by"


def alarm(row: Row) -> Alarm:
    id_, kind, subject, message, opened_at, count, acknowledged_at, acknowledged_by = row
    return Alarm(
        id=id_,
        kind=kind,
        subject=subject,
        message=message,
        opened_at=from_micros(opened_at),
        count=count,
        acknowledged_at=time_or_none(acknowledged_at),
        acknowledged_by=acknowledged_by,
    )
