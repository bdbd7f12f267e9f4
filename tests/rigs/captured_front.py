"""A captured front: it has the front's end of the socketpair of a real signer process, and says whatever it likes."""

from __future__ import annotations

import datetime as dt
import os
import select
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.host.paths import admin_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.wire.admin_methods import METHODS
from inborn._internal.wire.frames import FrameReader, encode_frame
from inborn._internal.wire.messages import error_from_message
from inborn._internal.wire.methods import find_method
from inborn_ca.settings import SignerSettings, SignerStart
from inborn_proto import admin_pb2, ca_pb2, feed_pb2, signed_pb2, signer_pb2
from tests.rigs.front_rig import EnrolledAgent, enroll_request, make_csr
from tests.rigs.settings_rig import started_with

TRUST_DOMAIN = TrustDomain("example.org")
SIGNING = "/inborn.signer.v1.Signing/"
PUBLISH = "/inborn.signer.v1.Fronting/Publish"
PATIENCE = 30.0  # seconds

M = TypeVar("M", bound=Message)


@dataclass
class CapturedFront:
    """`call` raises what the signer answers; `published` is what it has pushed."""

    data_dir: Path
    trust_domain: str = TRUST_DOMAIN.name
    published: list[signer_pb2.Publication] = field(default_factory=list)

    def __post_init__(self) -> None:
        ours, theirs = socket.socketpair()
        ready, ready_write = os.pipe()
        with theirs:
            settings = SignerSettings(
                data_dir=self.data_dir, trust_domain=self.trust_domain, min_ttl=dt.timedelta(seconds=1)
            )
            start = SignerStart(settings=settings, front_fd=theirs.fileno(), ready_fd=ready_write)
            self.process = started_with("inborn_ca.signer", start, pass_fds=[theirs.fileno(), ready_write])
        os.close(ready_write)
        try:
            assert select.select([ready], [], [], PATIENCE)[0], "the signer is not ready"
            assert os.read(ready, 4096).endswith(b"\n"), "the signer has ended"
        finally:
            os.close(ready)
        self.socket = ours
        self.socket.settimeout(PATIENCE)
        self._reader = FrameReader()
        self._last_id = 0
        attached = self.call("Attach", signer_pb2.AttachRequest(), signer_pb2.AttachResponse)
        self.bundle = X509Bundle.parse(TrustDomain(attached.trust_domain), list(attached.roots))
        self.log_id = attached.log_id

    def end(self) -> int:
        self.socket.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    # -- what a front can say ----------------------------------------------------------------------------------------

    def call(self, method: str, message: Message, response_type: type[M]) -> M:
        """One request of the front; a bare name is a method that a front may call."""
        self._last_id += 1
        name = method if method.startswith("/") else SIGNING + method
        frame = signer_pb2.Frame(id=self._last_id, method=name, body=message.SerializeToString())
        self.socket.sendall(encode_frame(frame.SerializeToString()))
        while True:
            answer = self.receive()
            if not answer.method and answer.id == self._last_id:
                break
        if answer.HasField("error"):
            raise error_from_message(answer.error)
        return response_type.FromString(answer.body)

    def receive(self) -> signer_pb2.Frame:
        """The next frame of the signer. Raises `EOFError` when the link has ended."""
        while True:
            for payload in self._reader.feed(b""):
                frame = signer_pb2.Frame.FromString(payload)
                if frame.method == PUBLISH:
                    self.published.append(signer_pb2.Publication.FromString(frame.body))
                return frame
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)

    def next_published(self, node: str = "") -> feed_pb2.FeedMessage:
        """The next message of that feed, which the front may pass on or not."""
        while True:
            for publication in self.published:
                if publication.node == node:
                    self.published.remove(publication)
                    return publication.message
            self.receive()

    # -- what passes through it --------------------------------------------------------------------------------------

    def admin(self, name: str, request: Message) -> Any:
        """An honest admin, beside the front."""
        with AdminClient(admin_socket(self.data_dir)) as client:
            return client.call(METHODS[name], request)

    def token(self, **fields: Any) -> JoinToken:
        return parse_join_token(self.admin("CreateToken", admin_pb2.CreateTokenRequest(**fields)).token)

    def entry(self, node: str, path: str = "/web") -> str:
        request = admin_pb2.CreateEntryRequest(
            spiffe_id=f"spiffe://{self.trust_domain}{path}", selectors=["unix:uid:1000"], node=node, ttl_seconds=300
        )
        return str(self.admin("CreateEntry", request).entry.id)

    def forward_enroll(self, request: ca_pb2.EnrollRequest) -> ca_pb2.EnrollResponse:
        return self.call("Enroll", signer_pb2.ForwardedEnroll(request=request, origin="x"), ca_pb2.EnrollResponse)

    def forward_issue(self, request: signed_pb2.SignedRequest) -> ca_pb2.IssueResponse:
        return self.call("Issue", signer_pb2.ForwardedRequest(request=request, origin="x"), ca_pb2.IssueResponse)

    def forward_renew(self, request: signed_pb2.SignedRequest) -> ca_pb2.EnrollResponse:
        return self.call("Renew", signer_pb2.ForwardedRequest(request=request, origin="x"), ca_pb2.EnrollResponse)

    def enroll(self, **fields: Any) -> EnrolledAgent:
        """An honest agent (or daemon), whose enrollment the front passes on."""
        key = new_key()
        return EnrolledAgent(key=key, response=self.forward_enroll(enroll_request(self.token(**fields), make_csr(key))))

    def certify_front(self, csr: bytes) -> list[bytes]:
        answer = self.call("CertifyFront", signer_pb2.CertifyFrontRequest(csr=csr), signer_pb2.CertifyFrontResponse)
        return list(answer.chain)

    def domain_snapshot(self) -> feed_pb2.FeedMessage:
        return self.call("DomainSnapshot", signer_pb2.DomainSnapshotRequest(), feed_pb2.FeedMessage)

    def node_snapshot(self, node: str) -> feed_pb2.FeedMessage:
        return self.call("OpenNodeFeed", signer_pb2.NodeFeedRequest(spiffe_id=node), feed_pb2.FeedMessage)

    def rows(self, spiffe_id: str = "") -> int:
        """How many certificates were recorded for an ID."""
        request = admin_pb2.ListCertificatesRequest(spiffe_id=spiffe_id, history=True)
        return len(self.admin("ListCertificates", request).certificates)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def issue_payload(entry_id: str, csr: bytes, *selectors: str) -> bytes:
    item = ca_pb2.IssueItem(entry_id=entry_id, csr=csr, selectors=selectors or ("unix:uid:1000",))
    return ca_pb2.IssueRequest(items=[item]).SerializeToString()


def all_methods(service: str) -> list[str]:
    """Every method of a service of the CA's, by full name."""
    for module in (admin_pb2, ca_pb2, signer_pb2):
        for found in module.DESCRIPTOR.services_by_name.values():
            if found.full_name == service:
                return [find_method(f"/{service}/{method.name}").name for method in found.methods]
    raise AssertionError(service)
