"""A CA in memory, as far as the library meets one: both ports, signed requests, and a feed that a test speaks."""

from __future__ import annotations

import datetime as dt
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor, peer_identity
from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.rpc.services import service_handler
from inborn._internal.spiffe.x509_bundle import bundle_digest
from inborn._internal.spiffe.x509_svid import X509Svid, key_sha256
from inborn._internal.wire.messages import ms_from_datetime, revocation_to_wire
from inborn._internal.wire.signed_request import FEED_CONTEXT, REQUEST_CONTEXT, verify_octets
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn.testing import MemoryAuthority
from inborn_ca.model.request_numbers import take
from inborn_ca.signer.commands.enrollment import RenewalStopped
from inborn_ca.signer.requesters.signed import ReplayedRequest
from inborn_proto import ca_pb2, feed_pb2, signed_pb2
from tests.rigs.open_guard import refuse_nobody

FRONT = "spiffe://example.org/inborn/ca/1"
LOG = "spiffe://example.org/inborn/ca/1/log"
DAEMON = "spiffe://example.org/daemon"


class FeedMaker:
    """Makes signed messages of the domain feed."""

    def __init__(self, authority: MemoryAuthority, *, log_svid: X509Svid | None = None) -> None:
        self.authority = authority
        self.log_id = authority.log_id
        self.svid = log_svid or authority.svid(LOG, key=ed25519.Ed25519PrivateKey.generate())
        self.revision = 0
        self.made_at = dt.datetime.now(dt.UTC)

    def message(self, body: feed_pb2.FeedBody) -> feed_pb2.FeedMessage:
        octets = body.SerializeToString()
        key = self.svid.private_key
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        return feed_pb2.FeedMessage(
            body=octets,
            signature=key.sign(FEED_CONTEXT + octets),
            log_chain=[c.public_bytes(serialization.Encoding.DER) for c in self.svid.chain],
        )

    def body(self, **fields: Any) -> feed_pb2.FeedBody:
        self.made_at += dt.timedelta(milliseconds=1)
        given: dict[str, Any] = {
            "trust_domain": str(self.authority.trust_domain),
            "log_id": self.log_id,
            "revision": self.revision,
            "previous": self.revision,
            "made_at_ms": ms_from_datetime(self.made_at),
        }
        return feed_pb2.FeedBody(**{**given, **fields})

    def snapshot(self, rules: tuple[Revocation, ...] = (), **fields: Any) -> feed_pb2.FeedMessage:
        self.revision += 1
        update = feed_pb2.DomainUpdate(
            snapshot=True,
            roots=self.authority.bundle.ders(),
            revocations=[revocation_to_wire(rule) for rule in rules],
            revocation_seq=max((rule.seq for rule in rules), default=0),
        )
        return self.message(self.body(domain=update, **fields))

    def parts(self, *cuts: tuple[Revocation, ...], snapshot_id: bytes = b"s" * 16) -> list[feed_pb2.FeedMessage]:
        """A snapshot in several messages, each with so many rules."""
        self.revision += 1
        length = max((rule.seq for rules in cuts for rule in rules), default=0)
        return [
            self.message(
                self.body(
                    domain=feed_pb2.DomainUpdate(
                        snapshot=True,
                        roots=self.authority.bundle.ders() if number == 0 else [],
                        revocations=[revocation_to_wire(rule) for rule in rules],
                        revocation_seq=length,
                        snapshot_id=snapshot_id,
                        part=number,
                        more=number + 1 < len(cuts),
                    )
                )
            )
            for number, rules in enumerate(cuts)
        ]

    def update(self, *rules: Revocation, roots: tuple[bytes, ...] = (), **fields: Any) -> feed_pb2.FeedMessage:
        previous, self.revision = self.revision, self.revision + 1
        update = feed_pb2.DomainUpdate(
            roots=roots,
            revocations=[revocation_to_wire(rule) for rule in rules],
            revocation_seq=rules[-1].seq if rules else 0,
        )
        return self.message(self.body(domain=update, previous=previous, **fields))

    def authorities(self, state: int) -> feed_pb2.FeedMessage:
        """The issuing authority is in this state now."""
        previous, self.revision = self.revision, self.revision + 1
        certificate = self.authority.issuing.public_bytes(serialization.Encoding.DER)
        update = feed_pb2.DomainUpdate(authorities=[feed_pb2.AuthorityState(certificate=certificate, state=state)])
        return self.message(self.body(domain=update, previous=previous))

    def heartbeat(self, **fields: Any) -> feed_pb2.FeedMessage:
        return self.message(self.body(**{"heartbeat": feed_pb2.Heartbeat(interval_ms=1000), **fields}))


class SpokenAuthority:
    """Both ports of a CA. `life` is that of the certificates it gives; `answers` may alter what it answers."""

    def __init__(self, authority: MemoryAuthority) -> None:
        self.authority = authority
        self.feed = FeedMaker(authority)
        self.life = dt.timedelta(hours=1)
        self.spiffe_id = DAEMON
        self.roots = authority.bundle.ders()
        self.enrolled: list[bytes] = []  # the CSRs
        self.renewed: list[bytes] = []
        self.numbers: list[int] = []
        self.refused: list[InbornError] = []  # requests whose number was used, and second successors of a key
        self._taken: dict[bytes, tuple[int, int]] = {}
        self._successors: dict[bytes, bytes] = {}
        self.acks: queue.SimpleQueue[ca_pb2.WatchAck] = queue.SimpleQueue()
        self.hellos: queue.SimpleQueue[ca_pb2.WatchHello] = queue.SimpleQueue()
        self.lose_replies = 0
        self.new_token()
        self.source = authority.source(FRONT)
        self._streams: set[queue.SimpleQueue[Any]] = set()
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None
        self.address = ""
        self.api_port = 0

    def new_token(self) -> None:
        """From now on `token` is another one, and the one before is not taken any more."""
        self.token_key = ed25519.Ed25519PrivateKey.generate()
        self.token = JoinToken(
            trust_domain=self.authority.trust_domain,
            bundle_digest=bundle_digest(self.authority.bundle.ders()),
            seed=self.token_key.private_bytes_raw(),
        )

    def start(self) -> None:
        interceptor = grpc_server_interceptor(self.source, lambda _: True)
        server = grpc.server(
            futures.ThreadPoolExecutor(16), interceptors=[_OnlyFor("/inborn.v1.Authority/", interceptor)]
        )
        services = ca_pb2.DESCRIPTOR.services_by_name
        server.add_generic_rpc_handlers(
            (
                service_handler(services["Bootstrap"], self, refuse_nobody),
                service_handler(services["Authority"], self, refuse_nobody),
            )
        )
        front = self.source.snapshot().svids[0]
        open_to_all = grpc.ssl_server_credentials([(front.key_pem(), front.chain_pem())])
        port = server.add_secure_port(self.address or "127.0.0.1:0", open_to_all)
        self.api_port = server.add_secure_port(f"127.0.0.1:{self.api_port}", grpc_server_credentials(self.source))
        server.start()
        self.address, self._server = f"127.0.0.1:{port}", server

    def stop(self) -> None:
        if self._server is not None:
            with self._lock:
                for stream in self._streams:
                    stream.put(None)
            self._server.stop(0).wait()
            self._server = None

    # -- bootstrap port --

    def GetBundle(self, request: ca_pb2.GetBundleRequest, context: Any) -> ca_pb2.GetBundleResponse:
        return ca_pb2.GetBundleResponse(
            trust_domain=str(self.authority.trust_domain),
            roots=self.roots,
            api_address=f":{self.api_port}",
            log_id=self.authority.log_id,
        )

    def Enroll(self, request: ca_pb2.EnrollRequest, context: Any) -> ca_pb2.EnrollResponse:
        verify_octets(self.token_key.public_key(), enroll_context("join_token"), request.body, request.proof)
        body = ca_pb2.EnrollBody.FromString(request.body)
        assert (body.kind, body.evidence) == ("join_token", self.token.id)
        self.enrolled.append(body.csr)
        return self._certificate(body.csr)

    # -- API port --

    def Renew(self, request: signed_pb2.SignedRequest, context: Any) -> ca_pb2.EnrollResponse:
        peer = peer_identity(context)
        pem = context.auth_context()["x509_pem_cert"][0]
        public_key: Any = x509.load_pem_x509_certificate(pem).public_key()
        verify_octets(public_key, REQUEST_CONTEXT, request.body, request.signature)
        body = signed_pb2.SignedBody.FromString(request.body)
        assert (body.method, body.serial) == ("/inborn.v1.Authority/Renew", peer.serial)
        if body.log_id != self.authority.log_id:
            raise DeniedError("another log_id")
        csr = ca_pb2.RenewRequest.FromString(body.payload).csr
        self._believe(key_sha256(public_key), body.number, csr)
        self.numbers.append(body.number)
        self.renewed.append(csr)
        return self._certificate(csr)

    def _believe(self, key: bytes, number: int, csr: bytes) -> None:
        """A number works once, and a key has one successor, as with the real signer."""
        last, used = self._taken.get(key, (0, 0))
        taken = take(last, used, number)
        successor_key: Any = x509.load_der_x509_csr(csr).public_key()
        successor = key_sha256(successor_key)
        error: InbornError | None = None
        if taken is None:
            error = ReplayedRequest(f"request number {number} was used or is too old, the last is {last}")
        elif self._successors.setdefault(key, successor) != successor:
            error = RenewalStopped("two holders of one key were seen")
        else:
            self._taken[key] = taken
        if error is not None:
            self.refused.append(error)
            raise error

    def Watch(self, requests: Iterator[ca_pb2.WatchRequest], context: Any) -> Iterator[feed_pb2.FeedMessage]:
        mine: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.hellos.put(next(requests).hello)

        def read() -> None:
            try:
                for request in requests:
                    self.acks.put(request.ack)
            except grpc.RpcError:
                pass  # the caller has gone

        threading.Thread(target=read, daemon=True).start()
        with self._lock:
            mine.put(self.feed.snapshot(tuple(self.authority.revocations)))
            self._streams.add(mine)
        context.add_callback(lambda: mine.put(None))
        try:
            while (message := mine.get()) is not None:
                yield message
        finally:
            with self._lock:
                self._streams.discard(mine)

    def push(self, message: feed_pb2.FeedMessage) -> None:
        with self._lock:
            for stream in self._streams:
                stream.put(message)

    def _certificate(self, csr: bytes) -> ca_pb2.EnrollResponse:
        key: Any = x509.load_der_x509_csr(csr).public_key()
        leaf = self.authority.certificate(self.spiffe_id, key, ttl=self.life)
        if self.lose_replies:
            self.lose_replies -= 1
            raise UnavailableError("the reply is lost")
        return ca_pb2.EnrollResponse(
            chain=[c.public_bytes(serialization.Encoding.DER) for c in (leaf, self.authority.issuing)],
            spiffe_id=self.spiffe_id,
            log_id=self.authority.log_id,
            roots=self.roots,
        )


class _OnlyFor(grpc.ServerInterceptor):
    """An interceptor for the methods of one service: a server has one list for all its ports."""

    def __init__(self, prefix: str, interceptor: grpc.ServerInterceptor) -> None:
        self._prefix, self._interceptor = prefix, interceptor

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if handler_call_details.method.startswith(self._prefix):
            return self._interceptor.intercept_service(continuation, handler_call_details)
        return continuation(handler_call_details)


@pytest.fixture
def ca(authority: MemoryAuthority) -> Iterator[SpokenAuthority]:
    spoken = SpokenAuthority(authority)
    spoken.start()
    yield spoken
    spoken.stop()
