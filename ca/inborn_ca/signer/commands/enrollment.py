"""Enrollment by evidence of some kind, and renewal by the holder of a certificate (design: getting in).

A node attestor says whom the evidence speaks for. What is the same for every kind is here: nobody banned comes in, what
an agent had before is superseded, and all of it is recorded.

A renewal pins the successor: one key has one successor key, whichever of its certificates asks. The same successor
again gets a further certificate; another one means two holders of the old key, and renewal stops for both.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.reason import SUPERSEDED
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn._internal.wire.messages import parse_message
from inborn._internal.wire.signed_request import MAX_BODY_SIZE
from inborn.errors import DeniedError, ExhaustedError, RequestError, moment
from inborn_ca.certificates.issuance import read_csr
from inborn_ca.model.quota import Quota
from inborn_ca.model.records import CertificateKind, Member, MemberKind, RequesterKey
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.node_attestors.challenge import Challenges
from inborn_ca.signer.commands.node_attestors.kinds import node_attestors
from inborn_ca.signer.commands.node_attestors.node_attestor import AttestedNode, NodeAttestor, ShownEvidence
from inborn_ca.signer.commands.revocation_log import revoke_certificates_of
from inborn_ca.signer.consequences import ConsequentialDenial, ConsequentialRefusal, OpenAlarm, StopRenewals
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.requesters.signed import Requester, WrongRecipient, believe
from inborn_ca.signer.state import Pending, SignerState, certificate_der, spki_of
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2, signer_pb2

__all__ = ["RENEW_METHOD", "Enrollment", "EnrollsAgain", "RenewalStopped", "UnknownKind"]

RENEW_METHOD = "/inborn.v1.Authority/Renew"

MAX_EVIDENCE = 96 * 1024  # bytes: a chain of five certificates of at most 16 KiB, and what is around it
MAX_PROOF = 2048  # bytes: RSA-8192 has 1024

# How often one and the same evidence may enroll again. Each time costs a row of the revocation log, which every peer
# hears of. A machine whose disk is wiped at each boot comes a few times a day; two that share one certificate come as
# often as they may, each killing what the other has.
_AGAIN_AT_ONCE = 6
_AGAIN_PER_SECOND = 1 / 600


class UnknownKind(RequestError):
    """No node attestor here believes evidence of that kind."""


class EnrollsAgain(ConsequentialRefusal, ExhaustedError):
    """The same evidence comes again and again: two nodes may share it."""


class RenewalStopped(ConsequentialDenial):
    """Two holders of one key were seen."""


class Enrollment:
    """Commands that give somebody a certificate that it renews itself."""

    def __init__(self, state: SignerState, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._monotonic = monotonic
        self._attestors = node_attestors(state)
        self._challenges = Challenges(os.urandom(32), trust_domain=state.trust_domain.name, log_id=state.log_id)
        self._again = Quota("enrollments", capacity=_AGAIN_AT_ONCE, per_second=_AGAIN_PER_SECOND)

    # -- by evidence --------------------------------------------------------------------------------------------------

    def challenge(self, request: ca_pb2.ChallengeRequest) -> ca_pb2.ChallengeResponse:
        """Something fresh for a proof. Nothing is kept of it. Raises `RequestError`."""
        attestor = self._attestor(request.kind)
        if not attestor.needs_challenge:
            raise RequestError(f"evidence of the kind {attestor.kind} takes no challenge")
        now, nonce = self._monotonic(), os.urandom(16)
        return ca_pb2.ChallengeResponse(
            challenge=self._challenges.make(attestor.kind, request.key_hash, now=now, nonce=nonce)
        )

    def enroll(self, forwarded: signer_pb2.ForwardedEnroll) -> Callable[[Transaction, Changes], Finish]:
        """The command for an `EnrollRequest`; finishes with an `EnrollResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            attestor, public_key, evidence = self._read(forwarded)
            node = attestor.attest(evidence, now=now, tx=tx)
            member = self._let_in(tx, changes, attestor, node, evidence)
            self._state.requesters.put_key(tx, _requester(tx, public_key, member.spiffe_id))
            pending = self._certify(tx, member, public_key)
            detail = {"serial": pending.prepared.serial.hex(), "name": member.name}
            if member.selectors:
                detail["selectors"] = " ".join(map(str, member.selectors))
            action = f"{member.kind}.enroll"
            subject = str(member.spiffe_id)
            tx.audit.add(audit.row(now, node.actor, action, subject, detail=detail, origin=forwarded.origin))
            return lambda: self._response(pending, member.spiffe_id)

        return command

    def _attestor(self, kind: str) -> NodeAttestor:
        attestor = self._attestors.get(kind)
        if attestor is None:
            raise UnknownKind(f"evidence of the kind {kind[:40]!a} is not known, only {', '.join(self._attestors)}")
        return attestor

    def _read(
        self, forwarded: signer_pb2.ForwardedEnroll
    ) -> tuple[NodeAttestor, ec.EllipticCurvePublicKey, ShownEvidence]:
        """What is the same for every kind: sizes, the recipient, the CSR's own proof, the challenge."""
        request = forwarded.request
        if len(request.body) > MAX_BODY_SIZE or len(request.proof) > MAX_PROOF:
            raise RequestError(f"enrollment is too large, or its proof is longer than {MAX_PROOF} bytes")
        body = parse_message(ca_pb2.EnrollBody, request.body, "enrollment")
        if body.trust_domain != self._state.trust_domain.name:
            raise WrongRecipient(
                f"enrollment is for trust domain {body.trust_domain!a}, this is {self._state.trust_domain}"
            )
        attestor = self._attestor(body.kind)
        if len(body.evidence) > MAX_EVIDENCE:
            raise RequestError(f"evidence is larger than {MAX_EVIDENCE} bytes: {len(body.evidence)}")
        if bool(body.challenge) is not attestor.needs_challenge:
            wanted = "wants a challenge" if attestor.needs_challenge else "takes no challenge"
            raise RequestError(f"evidence of the kind {attestor.kind} {wanted}")
        public_key = read_csr(body.csr)
        key_hash = key_sha256(public_key)
        if attestor.needs_challenge:
            self._challenges.check(body.challenge, attestor.kind, key_hash, now=self._monotonic())
        evidence = ShownEvidence(
            octets=body.evidence,
            body=request.body,
            proof=request.proof,
            key_hash=key_hash,
            origin=forwarded.origin,
        )
        return attestor, public_key, evidence

    def _let_in(
        self,
        tx: Transaction,
        changes: Changes,
        attestor: NodeAttestor,
        node: AttestedNode,
        evidence: ShownEvidence,
    ) -> Member:
        """The member's row: the one that is there, if a reply was lost, or a new one."""
        now, actor = self._state.clock(), node.actor
        if node.holder is not None:
            known = tx.members.get(node.holder)
            if known is None or known.banned_at is not None:
                raise DeniedError(f"{node.holder} is banned", actor=actor)
            return known
        spiffe_id = node.spiffe_id or self._state.trust_domain.id.child("inborn", "agent", str(uuid.uuid4()))
        before = tx.members.get(spiffe_id)
        name, groups = node.name, node.groups
        if before is not None:
            if before.banned_at is not None:
                raise DeniedError(f"{spiffe_id} is banned since {moment(before.banned_at)}", actor=actor)
            if before.kind is not node.member:
                raise DeniedError(f"{spiffe_id} is enrolled as a {before.kind} and no {node.member}", actor=actor)
            name, groups = name or before.name, groups or before.groups
            if node.is_reattestable:
                self._check_again(tx, spiffe_id, evidence)
            if before.kind is MemberKind.AGENT or before.stopped_at is not None:
                # Enrolled anew: what the same agent had ends here, and what two holders of one key had. A daemon may
                # have several instances of one ID, each with a token of its own.
                revoke_certificates_of(self._state, tx, changes, before.spiffe_id, actor=actor, reason=SUPERSEDED)
        changes.members.append(spiffe_id)
        member = Member(
            spiffe_id=spiffe_id,
            kind=node.member,
            enrolled_at=now,
            attested_by=attestor.kind,
            attested_subject=node.subject,
            name=name,
            groups=groups,
            selectors=node.selectors,
        )
        self._state.requesters.put_member(tx, member)
        attestor.enrolled(node, spiffe_id, evidence.key_hash, now=now, tx=tx)
        return member

    def _check_again(self, tx: Transaction, spiffe_id: SpiffeId, evidence: ShownEvidence) -> None:
        """The same evidence comes again: not too often, and with a key that has no successor yet."""
        now = self._state.clock()
        known = tx.members.requester(evidence.key_hash)
        if known is not None and known.successor is not None:
            raise RequestError(f"key has been renewed by {known.spiffe_id} already", hint="enroll with a new key")
        try:
            self._again.take(str(spiffe_id), 1, self._monotonic())
        except ExhaustedError as e:
            alarm = OpenAlarm(
                kind="node.enrolls_again",
                subject=str(spiffe_id),
                message=f"{spiffe_id} enrolls again and again, now from {evidence.origin or 'unknown'}",
                at=now,
            )
            raise EnrollsAgain(e.message, hint=e.hint, consequences=(alarm,)) from e

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
                selectors=member.selectors,
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
