"""Reads of the ledger, of agents, of the audit trail and of revocations, as the admin's verbs show them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from inborn._internal.revocation.reason import reason_name
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn.errors import NotFoundError, RequestError
from inborn_ca.model.records import Alarm, AuditRow, Issued, MemberKind
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.signer.commands.revocations import block_message
from inborn_ca.signer.commands.targets import octets_of_hex
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState, to_revocation
from inborn_ca.store.interface import CertificateFilter, Reader, Transaction
from inborn_proto import admin_pb2

__all__ = ["Ledger", "alarm_message"]

MAX_PAGE = 1000  # rows of one answer: 300 KiB
MAX_SEQ = 2**63 - 1  # the largest integer of the store


class Ledger:
    """Reads for the admin. Methods that scan take the reader of a thread of its own."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def certificates(
        self, reader: Reader, request: admin_pb2.ListCertificatesRequest, revocations: RevocationSet
    ) -> admin_pb2.ListCertificatesResponse:
        limit = min(request.limit or MAX_PAGE, MAX_PAGE)
        where = CertificateFilter(
            spiffe_id=from_operator_input(request.spiffe_id) if request.spiffe_id else None,
            node=find_agent(reader, request.node).spiffe_id if request.node else None,
            entry_id=request.entry_id,
            issued_after=_time(request.issued_after) if request.HasField("issued_after") else None,
            issued_before=_time(request.issued_before) if request.HasField("issued_before") else None,
            alive_at=None if request.history else self._state.clock(),
            after_serial=octets_of_hex(request.after_serial, "serial") if request.after_serial else b"",
            limit=limit + 1,
        )
        rows = reader.ledger.select(where)
        response = admin_pb2.ListCertificatesResponse(more=len(rows) > limit)
        response.certificates.extend(self._certificate(row, revocations) for row in rows[:limit])
        return response

    def certificate(
        self, reader: Reader, request: admin_pb2.GetCertificateRequest, revocations: RevocationSet
    ) -> admin_pb2.Certificate:
        row = reader.ledger.get(octets_of_hex(request.serial, "serial"))
        if row is None:
            raise NotFoundError(f"no certificate has serial {request.serial[:80]!a}")
        return self._certificate(row, revocations)

    def all_revocations(self, reader: Reader) -> RevocationSet:
        """A set of its own, for use in a reader's thread."""
        revocations = RevocationSet()
        revocations.apply_snapshot(
            self._state.log_id, reader.revocations.seq(), [to_revocation(r) for r in reader.revocations.log()]
        )
        return revocations

    def _certificate(self, row: Issued, revocations: RevocationSet) -> admin_pb2.Certificate:
        revocation = revocations.find(self._state.facts(row))
        message = admin_pb2.Certificate(
            serial=row.serial.hex(),
            spiffe_id=str(row.spiffe_id),
            kind=str(row.kind),
            entry_id=row.entry_id,
            node=str(row.node or ""),
            key_sha256=row.key_hash.hex(),
            authority=row.authority.hex(),
            selectors=[str(selector) for selector in row.selectors],
            revoked_by=revocation.seq if revocation is not None else 0,
        )
        message.issued_at.FromDatetime(row.issued_at)
        message.not_after.FromDatetime(row.not_after)
        return message

    def agents(self, reader: Reader, propagation: Propagation) -> admin_pb2.ListAgentsResponse:
        response = admin_pb2.ListAgentsResponse()
        now = self._state.clock()
        ends = reader.ledger.ends_of_holders(at=now)
        for member in reader.members.all():
            if member.kind is not MemberKind.AGENT:
                continue
            name = str(member.spiffe_id)
            state = "banned" if member.banned_at else "stopped" if member.stopped_at else "active"
            agent = response.agents.add(
                spiffe_id=name,
                name=member.name,
                groups=member.groups,
                state=state,
                connected=propagation.state(name) is not None,
                attested_by=member.attested_by,
                attested_subject=member.attested_subject,
                selectors=[str(selector) for selector in member.selectors],
            )
            agent.enrolled_at.FromDatetime(member.enrolled_at)
            end = ends.get(member.spiffe_id)
            if end is not None:
                agent.svid_expires_at.FromDatetime(end)
            heard = propagation.state(name)
            if heard is not None:
                agent.revocation_seq = heard[0]
                agent.laggards.extend(heard[1])
            heard_at = propagation.heard_at(name)
            if heard_at is not None:
                agent.heard_at.FromDatetime(heard_at)
        return response

    def revocations(
        self, reader: Reader, request: admin_pb2.ListRevocationsRequest
    ) -> admin_pb2.ListRevocationsResponse:
        limit = min(request.limit or MAX_PAGE, MAX_PAGE)
        if request.after_seq > MAX_SEQ:
            raise RequestError(f"after_seq is larger than {MAX_SEQ}: {request.after_seq}")
        rows = reader.revocations.log(dropped=request.all, after_seq=request.after_seq, limit=limit + 1)
        response = admin_pb2.ListRevocationsResponse(revocation_seq=reader.revocations.seq(), more=len(rows) > limit)
        for row in rows[:limit]:
            message = response.revocations.add(
                seq=row.seq,
                target=to_revocation(row).target,
                reason=reason_name(row.reason),
                blocks=row.blocks,
                actor=row.actor,
                note=row.note,
            )
            message.revoked_at.FromDatetime(row.revoked_at)
            message.alive_until.FromDatetime(row.alive_until)
        if not request.after_seq:
            response.blocks.extend(block_message(block) for block in reader.blocks.all())
        return response

    def audit(self, reader: Reader, request: admin_pb2.ListAuditRequest) -> admin_pb2.ListAuditResponse:
        rows = reader.audit.rows(
            after_id=request.after_id,
            limit=min(request.limit or MAX_PAGE, MAX_PAGE),
            action=request.action,
            newest=request.newest,
        )
        return admin_pb2.ListAuditResponse(rows=[_audit_message(row) for row in rows])

    def alarms(self, reader: Reader, request: admin_pb2.ListAlarmsRequest) -> admin_pb2.ListAlarmsResponse:
        return admin_pb2.ListAlarmsResponse(
            alarms=[alarm_message(alarm) for alarm in reader.audit.alarms(acknowledged=request.all)]
        )

    def acknowledge(
        self, request: admin_pb2.AcknowledgeAlarmRequest, actor: str
    ) -> Callable[[Transaction, Changes], Finish]:
        """The command behind `inborn alarms ack`; finishes with an `Alarm`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            alarm = tx.audit.acknowledge_alarm(request.id, actor, self._state.clock())
            if alarm is None:
                raise NotFoundError(f"no open alarm has number {request.id}", hint="inborn alarms list shows them")
            message = alarm_message(alarm)
            return lambda: message

        return command

    def bundle(self) -> admin_pb2.GetBundleResponse:
        bundle = self._state.bundle
        return admin_pb2.GetBundleResponse(
            trust_domain=self._state.trust_domain.name,
            roots=bundle.ders(),
            sequence=max(1, self._state.domain_revision),
            digest=bundle.digest().hex(),
        )


def alarm_message(alarm: Alarm) -> admin_pb2.Alarm:
    message = admin_pb2.Alarm(
        id=alarm.id,
        kind=alarm.kind,
        subject=alarm.subject,
        message=alarm.message,
        acknowledged_by=alarm.acknowledged_by,
        count=alarm.count,
    )
    message.opened_at.FromDatetime(alarm.opened_at)
    if alarm.acknowledged_at is not None:
        message.acknowledged_at.FromDatetime(alarm.acknowledged_at)
    return message


def _audit_message(row: AuditRow) -> admin_pb2.AuditRow:
    message = admin_pb2.AuditRow(
        id=row.id,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        detail=json.dumps(dict(row.detail), sort_keys=True, ensure_ascii=True),
        origin=row.origin,
        count=row.count,
    )
    message.at.FromDatetime(row.at)
    return message


def _time(timestamp: Timestamp) -> dt.datetime:
    try:
        return timestamp.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError) as e:
        raise RequestError("time is out of range") from e
