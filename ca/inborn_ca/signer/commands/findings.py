"""Findings after a restore: what agents still know of the former database, and this one does not.

Denials hold at once. A reported revocation can kill what was issued before the restore and nothing else: it may not
name an authority that signs now. So the worst that an agent which lies can do is to end certificates, with its name
beside each, and to stop issuance until an admin lifts the block.

A certificate of an agent without a row waits for an admin: accepted, it has its row, its key and its enrollment back.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import NoReturn

from inborn._internal.revocation.reason import is_reason
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import load_certificate, read_certificate
from inborn._internal.verification.verify import verify_current
from inborn._internal.wire.messages import parse_message, revocation_from_wire
from inborn.errors import (
    AlreadyExistsError,
    DeniedError,
    ExhaustedError,
    NotFoundError,
    PreconditionError,
    RequestError,
)
from inborn_ca.model.quota import Quota
from inborn_ca.model.records import (
    Block,
    BlockKind,
    CertificateKind,
    Finding,
    FindingKind,
    Issued,
    Member,
    MemberKind,
    RequesterKey,
)
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.authority_order import AuthorityOrder, give_order, read_order
from inborn_ca.signer.commands.revocation_log import append_revocation
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.requesters.signed import UnknownRequester, believe, read_body
from inborn_ca.signer.requesters.unknown_holder import UnknownHolder, believe_chain
from inborn_ca.signer.state import Blocked, SignerState, spki_of
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2, ca_pb2, signed_pb2, signer_pb2

__all__ = ["FORMER_LOG", "FORMER_SEQ", "MAX_REVOCATIONS", "REPORT_METHOD", "Findings", "NotFormerLog"]

REPORT_METHOD = "/inborn.v1.Authority/Report"
FORMER_LOG, FORMER_SEQ = "former_log_id", "former_revocation_seq"
"""In the database's meta, written by a restore."""

MAX_REVOCATIONS = 500  # a request, as of a chunk of an expansion: 20 ms
MAX_OF_REPORTER = 100_000  # findings, however long it takes: as many revocations as a large CA has alive
_QUOTA, _REFILL = 5_000.0, 100.0  # revocations an agent reports at once, and again each second
_MAX_LISTED = 1_000

_BLOCKS = {
    RevocationKind.SPIFFE_ID: BlockKind.ID,
    RevocationKind.ID_PREFIX: BlockKind.ID_PREFIX,
    RevocationKind.KEY: BlockKind.KEY,
}


class NotFormerLog(DeniedError):
    """A report is of another log than the one that this database was restored from."""


class Findings:
    """Commands behind `Authority.Report` and the admin's verbs."""

    def __init__(self, state: SignerState, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._monotonic = monotonic
        self._quota = Quota("reported revocations", capacity=_QUOTA, per_second=_REFILL)

    # -- what agents report --------------------------------------------------------------------------------------------

    def report(self, forwarded: signer_pb2.ForwardedRequest) -> Callable[[Transaction, Changes], Finish]:
        """The command for a signed `ReportRequest`; finishes with a `ReportResponse`. All of it, or nothing."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            body = read_body(forwarded.request)
            request = _read(body)
            holder: UnknownHolder | None = None
            try:
                requester = believe(self._state, tx, forwarded.request, method=REPORT_METHOD)
                reporter = requester.member.spiffe_id
                if requester.member.kind is not MemberKind.AGENT:
                    raise DeniedError(f"{reporter} is no agent: only agents report", actor=requester.actor)
            except UnknownRequester:
                self._check_recipient(tx, body, request)
                holder = believe_chain(self._state, tx, forwarded.request, body.serial, list(request.chain))
                reporter = holder.facts.spiffe_id
            self._check_recipient(tx, body, request)
            response = ca_pb2.ReportResponse(unknown=holder is not None)
            self._take_revocations(tx, changes, request, reporter, response)
            if holder is not None:
                self._take_holder(tx, holder, body.number, response)
            self._tell(tx, reporter, request.former_log_id, response, forwarded.origin)
            return lambda: response

        return command

    def _check_recipient(self, tx: Transaction, body: signed_pb2.SignedBody, request: ca_pb2.ReportRequest) -> None:
        """For us, for this method, and of the log that this database comes from. An agent without a row may know no
        other log than that."""
        if body.trust_domain != self._state.trust_domain.name or body.method != REPORT_METHOD:
            raise RequestError(f"request is for {body.method!a} of trust domain {body.trust_domain!a}")
        former = tx.meta.get(FORMER_LOG) or ""
        if not former or request.former_log_id.hex() != former:
            raise NotFormerLog(
                f"report is of log {request.former_log_id.hex()}, this database comes from {former or 'no other'}"
            )
        if body.log_id not in (self._state.log_id, request.former_log_id):
            raise NotFormerLog(f"request is for log {body.log_id.hex()}, this is {self._state.log_id.hex()}")

    def _take_revocations(
        self,
        tx: Transaction,
        changes: Changes,
        request: ca_pb2.ReportRequest,
        reporter: SpiffeId,
        response: ca_pb2.ReportResponse,
    ) -> None:
        floor = int(tx.meta.get(FORMER_SEQ) or 0)
        revocations = [
            revocation for revocation in map(revocation_from_wire, request.revocations) if revocation.seq > floor
        ]
        for revocation in revocations:
            self._judge(revocation)
        *_, current = self._state.revocations.logs()
        unknown = [revocation for revocation in revocations if not current.covers(revocation)]
        if not unknown:
            return
        if tx.findings.count_of(str(reporter)) + len(unknown) > MAX_OF_REPORTER:
            raise ExhaustedError(f"{reporter} has reported more than {MAX_OF_REPORTER} revocations")
        self._quota.take(str(reporter), len(unknown), self._monotonic())
        taken: list[Revocation] = []
        for revocation in unknown:
            if any(other.covers(revocation) for other in taken):
                continue
            taken.append(revocation)
            self._take_revocation(tx, changes, revocation, reporter, request.former_log_id)
        response.revocations = len(taken)
        response.revocation_seq = changes.revocations[-1].seq

    def _judge(self, revocation: Revocation) -> None:
        """Refuse what the former log cannot have had. Raises `RequestError`."""
        signing = {
            a.key_id
            for a in self._state.authorities
            if a.state in (AuthorityState.ROOT, AuthorityState.ACTIVE, AuthorityState.PREPARED)
        }
        if signing & set(revocation.cut_offs) or (
            revocation.kind is RevocationKind.AUTHORITY and revocation.value in signing
        ):
            raise RequestError(f"revocation {revocation.seq} names an authority that the former log did not know")
        if not is_reason(revocation.reason):
            raise RequestError(f"revocation {revocation.seq} has reason {revocation.reason}, which is not offered")
        if revocation.blocks and revocation.kind not in _BLOCKS:
            raise RequestError(f"revocation {revocation.seq} of {revocation.target} blocks, which its kind cannot")
        if revocation.kind in (RevocationKind.SPIFFE_ID, RevocationKind.ID_PREFIX):
            spiffe_id = parse_spiffe_id(revocation.value.decode())
            if spiffe_id.trust_domain != self._state.trust_domain or spiffe_id.is_reserved:
                raise RequestError(f"revocation {revocation.seq} names {spiffe_id}, which is not revoked by ID here")

    def _take_revocation(
        self, tx: Transaction, changes: Changes, revocation: Revocation, reporter: SpiffeId, former: bytes
    ) -> None:
        actor, now = f"agent:{reporter}", self._state.clock()
        seq = append_revocation(
            self._state, tx, changes, revocation.kind, revocation.value,
            cut_offs=revocation.cut_offs, reason=revocation.reason, blocks=revocation.blocks, actor=actor,
            note=f"revocation {revocation.seq} of former log {former.hex()}", audited=False,
        )  # fmt: skip
        if revocation.blocks:
            kind = _BLOCKS[revocation.kind]
            value = revocation.value.hex() if kind is BlockKind.KEY else revocation.value.decode()
            if tx.blocks.find([(kind, value)]) is None:
                tx.blocks.add(Block(kind=kind, value=value, since=now, actor=actor, revocation_seq=seq))
        if revocation.kind is RevocationKind.AUTHORITY and any(
            a.key_id == revocation.value for a in self._state.authorities
        ):
            self._order(tx, changes, revocation, actor)
        tx.findings.add(
            Finding(
                kind=FindingKind.REVOCATION, subject=revocation.target, reporter=reporter, found_at=now,
                revocation_seq=seq, accepted_at=now, accepted_by="ca",
            )
        )  # fmt: skip

    def _order(self, tx: Transaction, changes: Changes, revocation: Revocation, actor: str) -> None:
        """The revocation holds; the authority's state and the root's CRL follow, as for an admin's order."""
        ca_id = next(a.ca_id for a in self._state.authorities if a.key_id == revocation.value)
        if read_order(tx, ca_id) is None:
            order = AuthorityOrder(authority=revocation.value, reason=revocation.reason, actor=actor, note="")
            give_order(tx, order, ca_id)
            changes.revoking = True

    def _take_holder(
        self, tx: Transaction, holder: UnknownHolder, number: int, response: ca_pb2.ReportResponse
    ) -> None:
        serial = holder.facts.serial.hex()
        known = tx.findings.find_certificate(serial)
        if known is not None:
            tx.findings.use_number(known.id, number)
            return
        if tx.findings.count_of(str(holder.facts.spiffe_id)) >= MAX_OF_REPORTER:
            raise ExhaustedError(f"{holder.facts.spiffe_id} has reported more than {MAX_OF_REPORTER} findings")
        tx.findings.add(
            Finding(
                kind=FindingKind.CERTIFICATE, subject=serial, reporter=holder.facts.spiffe_id,
                found_at=self._state.clock(), certificate=holder.leaf, number=number,
            )
        )  # fmt: skip
        response.certificates = 1

    def _tell(
        self,
        tx: Transaction,
        reporter: SpiffeId,
        former: bytes,
        response: ca_pb2.ReportResponse,
        origin: str,
    ) -> None:
        if not response.revocations and not response.certificates:
            return
        now = self._state.clock()
        detail = {
            "revocations": response.revocations,
            "certificates": response.certificates,
            "seq": response.revocation_seq,
        }
        tx.audit.add(audit.row(now, f"agent:{reporter}", "restore.report", former.hex(), detail=detail, origin=origin))
        tx.audit.raise_alarm(
            kind="restore.findings",
            subject=former.hex(),
            message="agents know what the restored database does not: inborn findings list",
            at=now,
        )

    # -- what an admin does --------------------------------------------------------------------------------------------

    def list(self, reader: Reader, request: admin_pb2.ListFindingsRequest) -> admin_pb2.ListFindingsResponse:
        limit = min(request.limit or _MAX_LISTED, _MAX_LISTED)
        if request.after_id > 2**62:
            raise RequestError(f"after_id is too large: {request.after_id}")
        found = reader.findings.page(accepted=request.all, after_id=request.after_id, limit=limit + 1)
        messages = [finding_message(finding) for finding in found[:limit]]
        return admin_pb2.ListFindingsResponse(findings=messages, more=len(found) > limit)

    def accept(self, request: admin_pb2.AcceptFindingRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Give an agent's certificate its row, its key and its enrollment back; finishes with the `Finding`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            finding = tx.findings.get(request.id) if 0 < request.id < 2**62 else None
            if finding is None:
                raise NotFoundError(f"no finding has number {request.id}", hint="inborn findings list")
            if finding.kind is not FindingKind.CERTIFICATE or finding.accepted_at is not None:
                raise AlreadyExistsError(f"finding {finding.id} is in force already")
            now = self._state.clock()
            self._give_back(tx, changes, finding, now)
            tx.findings.accept(finding.id, actor, now)
            detail = {"serial": finding.subject, "finding": finding.id}
            tx.audit.add(audit.row(now, actor, "finding.accept", str(finding.reporter), detail=detail))
            accepted = tx.findings.get(finding.id)
            return lambda: finding_message(accepted or finding)

        return command

    def _give_back(self, tx: Transaction, changes: Changes, finding: Finding, now: dt.datetime) -> None:
        leaf = load_certificate(finding.certificate)
        facts = read_certificate(leaf)
        verify_current(facts, revocations=self._state.revocations, now=now)
        if not any(a.key_id == facts.authority for a in self._state.authorities):
            _refuse(finding, f"its authority {facts.authority.hex()} was made after the backup")
        node = str(facts.spiffe_id)
        block = tx.blocks.find([(BlockKind.NODE, node), (BlockKind.KEY, facts.key_hash.hex())])
        if block is not None:
            raise Blocked(f"{node} is blocked by {block.target}", hint=f"inborn unblock {block.target}")
        member = self._state.requesters.member(tx, facts.spiffe_id)
        if member is not None and (member.banned_at is not None or member.stopped_at is not None):
            _refuse(finding, f"{node} is banned, or its key had two holders")
        if member is None:
            member = Member(spiffe_id=facts.spiffe_id, kind=MemberKind.AGENT, enrolled_at=now)
            self._state.requesters.put_member(tx, member)
        tx.ledger.add(
            Issued(
                serial=facts.serial, spiffe_id=facts.spiffe_id, kind=CertificateKind.AGENT, key_hash=facts.key_hash,
                authority=facts.authority, issued_at=facts.not_before, not_after=facts.not_after,
            )
        )  # fmt: skip
        if tx.members.requester(facts.key_hash) is None:
            key = RequesterKey(
                key_hash=facts.key_hash, spki=spki_of(leaf.public_key()),  # type: ignore[arg-type]
                spiffe_id=facts.spiffe_id, last_number=finding.number, used_numbers=2**256 - 1,
            )  # fmt: skip
            self._state.requesters.put_key(tx, key)
        changes.members.append(facts.spiffe_id)


def finding_message(finding: Finding) -> admin_pb2.Finding:
    message = admin_pb2.Finding(
        id=finding.id,
        kind=str(finding.kind),
        subject=finding.subject,
        reporter=str(finding.reporter),
        revocation_seq=finding.revocation_seq,
        accepted_by=finding.accepted_by,
    )
    message.found_at.FromDatetime(finding.found_at)
    if finding.accepted_at is not None:
        message.accepted_at.FromDatetime(finding.accepted_at)
    return message


def _refuse(finding: Finding, why: str) -> NoReturn:
    raise PreconditionError(
        f"finding {finding.id} cannot be accepted: {why}",
        hint=f"enroll it again: inborn token create --agent {finding.reporter}",
    )


def _read(body: signed_pb2.SignedBody) -> ca_pb2.ReportRequest:
    request = parse_message(ca_pb2.ReportRequest, body.payload, "report")
    if len(request.revocations) > MAX_REVOCATIONS:
        raise RequestError(f"report has more than {MAX_REVOCATIONS} revocations: {len(request.revocations)}")
    if len(request.former_log_id) != 16:
        raise RequestError(f"former log_id has {len(request.former_log_id)} bytes, not 16")
    return request
