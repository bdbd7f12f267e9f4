"""What the front may ask of the signer. It is believed in nothing but what it says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from google.protobuf.message import DecodeError

from inborn._internal.address import parse_address
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn._internal.wire.access import CallNotAllowed
from inborn.errors import RequestError
from inborn_ca.certificates.issuance import read_csr
from inborn_ca.model.quota import Quota
from inborn_ca.model.records import AuditRow, CertificateKind, Member, MemberKind
from inborn_ca.model.registration_entry import Entry
from inborn_ca.signer.api.calls import Call, Direct, Queued
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.enrollment import Enrollment
from inborn_ca.signer.commands.findings import Findings
from inborn_ca.signer.commands.issuing import Issuing
from inborn_ca.signer.commands.own_revocation import OwnRevocation
from inborn_ca.signer.feeds import Feeds
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Command, Finish, Refusal
from inborn_ca.signer.state import SignerState, certificate_der
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import ca_pb2, feed_pb2, signed_pb2, signer_pb2

__all__ = ["FrontCalls"]

_SERVICE = "/inborn.signer.v1.Signing/"


class FrontCalls:
    """The front's table of calls."""

    def __init__(self, state: SignerState, reader: Reader, feeds: Feeds, propagation: Propagation) -> None:
        self._state = state
        self._reader = reader
        self._feeds = feeds
        self._propagation = propagation
        self._enrollment = Enrollment(state)
        self._issuing = Issuing(state)
        self._findings = Findings(state)
        self._own_revocation = OwnRevocation(state)
        self.measure: Callable[[], signer_pb2.Measures] = signer_pb2.Measures
        """Set by whoever composes the signer."""
        self.authority: bytes | None = None
        """Whose certificate the front was given last; None: no front is attached."""
        # A captured front must not be able to fill the disk. An honest one renews twice in a life.
        per_second = max(1 / 60, 4 / state.lifetimes.front.total_seconds())
        self._certified = Quota("certificates of its own", capacity=20, per_second=per_second)
        self._reported = Quota("reports of denials", capacity=120, per_second=1)
        self.bootstrap_address = ""
        self.api_address = ""
        self.crl_address = ""

    def table(self) -> Mapping[str, Call]:
        return {
            _SERVICE + "Attach": Direct(self._attach),
            _SERVICE + "Challenge": Direct(lambda m, _: self._enrollment.challenge(m)),
            _SERVICE + "Enroll": Queued(
                lambda m, _: self._enrollment.enroll(m), lambda m, _: self._refusal("enroll", m.origin), lane=_joiner
            ),
            _SERVICE + "Issue": Queued(
                lambda m, _: self._issuing.issue(m),
                lambda m, _: self._refusal("svid.issue", m.origin),
                needs_savepoint=False,
                lane=_requester,
            ),
            _SERVICE + "Renew": Queued(
                lambda m, _: self._enrollment.renew(m), lambda m, _: self._refusal("renew", m.origin), lane=_requester
            ),
            _SERVICE + "Revoke": Queued(
                lambda m, _: self._own_revocation.revoke(m),
                lambda m, _: self._refusal("revoke.own", m.origin),
                lane=_requester,
            ),
            _SERVICE + "Report": Queued(
                lambda m, _: self._findings.report(m),
                lambda m, _: self._refusal("restore.report", m.origin),
                lane=_requester,
            ),
            _SERVICE + "CertifyFront": Queued(lambda m, _: self._certify_front(m)),
            _SERVICE + "DomainSnapshot": Direct(lambda m, _: self._feeds.snapshot_part(m)),
            _SERVICE + "OpenNodeFeed": Direct(self._open_node),
            _SERVICE + "CloseNodeFeed": Direct(self._close_node),
            _SERVICE + "Acknowledge": Direct(self._acknowledge),
            _SERVICE + "ReportDenial": Queued(lambda m, _: self._report_denial(m)),
            _SERVICE + "Measure": Direct(lambda m, _: self.measure()),
        }

    def _refusal(self, action: str, origin: str) -> Refusal:
        return audit.denial(self._state.clock(), action, origin=origin[:200])

    def _attach(self, message: signer_pb2.AttachRequest, _: str) -> signer_pb2.AttachResponse:
        for text in filter(None, (message.bootstrap_address, message.api_address, message.crl_address)):
            parse_address(text)  # they stand in the front's certificate and in what admins are shown
        self.bootstrap_address, self.api_address = message.bootstrap_address, message.api_address
        self.crl_address = message.crl_address
        return signer_pb2.AttachResponse(
            trust_domain=self._state.trust_domain.name, log_id=self._state.log_id, roots=self._state.bundle.ders()
        )

    def _certify_front(self, message: signer_pb2.CertifyFrontRequest) -> Command:
        def command(tx: Transaction, changes: Changes) -> Finish:
            self._certified.take("the front", 1, time.monotonic())
            pending = self._state.certify(
                tx,
                kind=CertificateKind.FRONT,
                spiffe_id=self._state.ca_name("front"),
                public_key=read_csr(message.csr),
                ttl=self._state.lifetimes.front,
            )

            def finish() -> signer_pb2.CertifyFrontResponse:
                self.authority = pending.issuer.key_id
                return signer_pb2.CertifyFrontResponse(
                    chain=[pending.sign(), certificate_der(pending.issuer.certificate)]
                )

            return finish

        return command

    def dns_names(self) -> list[str]:
        """The DNS names under which the CA is reached, as far as the front has been told one."""
        addresses = [parse_address(text) for text in (self.bootstrap_address, self.api_address) if text]
        return sorted({address.host for address in addresses if not address.is_ip})

    def node_state(self, node: str) -> tuple[Member | None, list[Entry]]:
        """An agent and all entries, for its node feed; a daemon has none."""
        member = self._reader.members.get(_id(node))
        if member is None or member.kind is not MemberKind.AGENT or member.banned_at is not None:
            return None, []
        return member, list(self._state.entries.values())

    def _open_node(self, message: signer_pb2.NodeFeedRequest, _: str) -> feed_pb2.FeedMessage:
        """An agent's or enrolled daemon's: a workload's certificate looks like a daemon's, and only the store knows."""
        node = str(_id(message.spiffe_id))
        if self._reader.members.get(_id(node)) is None:
            raise CallNotAllowed(f"{node} has not enrolled: only agents and enrolled daemons may watch")
        self._propagation.connected(node)
        return self._feeds.open_node(node, *self.node_state(node))

    def _close_node(self, message: signer_pb2.NodeFeedRequest, _: str) -> signer_pb2.Done:
        self._feeds.close_node(message.spiffe_id)
        self._propagation.disconnected(message.spiffe_id)
        return signer_pb2.Done()

    def _acknowledge(self, message: signer_pb2.Acknowledgements, _: str) -> signer_pb2.Done:
        for one in message.acknowledgements:
            ack: ca_pb2.WatchAck = one.ack
            if ack.log_id == self._state.log_id:
                self._propagation.acknowledged(one.spiffe_id, ack)
        return signer_pb2.Done()

    def _report_denial(self, message: signer_pb2.DenialReport) -> Command:
        def command(tx: Transaction, changes: Changes) -> Finish:
            self._reported.take("the front", 1, time.monotonic())
            tx.audit.add_denial(
                AuditRow(
                    at=self._state.clock(),
                    actor=message.spiffe_id[:2048] or "unknown",
                    action="rpc.denied",
                    subject=message.method[:200],
                    detail={"kind": message.kind[:100], "message": message.message[:1000]},
                    origin=message.origin[:200],
                )
            )
            return lambda: signer_pb2.Done()

        return command

    def front_gone(self) -> None:
        """The link to the front has ended, and all streams with it."""
        self.authority = None
        self._feeds.close_all()
        self._propagation.all_disconnected()


def _requester(message: signer_pb2.ForwardedRequest, _: str) -> bytes:
    """The lane of a signed request: the serial that it names, believed or not. What cannot be read shares one."""
    try:
        return signed_pb2.SignedBody.FromString(message.request.body).serial[:20]
    except DecodeError:
        return b"unreadable"


def _joiner(message: signer_pb2.ForwardedEnroll, _: str) -> bytes:
    """The lane of somebody who joins: the host that it comes from, as the front saw it."""
    return message.origin.rpartition(":")[0].encode()[:200]


def _id(text: str) -> SpiffeId:
    if not text:
        raise RequestError("node feed without a SPIFFE ID")
    return parse_spiffe_id(text)
