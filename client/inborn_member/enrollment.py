"""Getting in with a join token (`enroll_with_token`), and talking to the CA afterwards (`AuthorityClient`).

To enroll is to make sure whom one talks to before anything is said: one TLS connection, made without verification,
shows the server's chain and its bundle; the bundle's digest must be the token's, and the chain must lead to it and be
that of a CA (`/inborn/ca/...`). Only then, and on that same connection, a CSR goes over, signed with the token's key.
The token's secret never leaves the process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from google.protobuf.message import Message

from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.feed.feed_verifier import LOG_ID_SIZE
from inborn._internal.grpc_adapter.channel import RotatingAioChannel, grpc_channel
from inborn._internal.revocation.revocation_set import Revocation, RevocationSet
from inborn._internal.rpc.request_stream import RequestStream
from inborn._internal.rpc.services import MESSAGE_LIMITS, AioStream, AioStub
from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey, X509Svid, key_sha256, parse_chain, read_certificate
from inborn._internal.tls.context import unsafe_unverified_context
from inborn._internal.tls.tunnel import Tunnel, split_target
from inborn._internal.tls.verified_socket import peer_chain
from inborn._internal.verification.verify import Authorizer, verify_chain
from inborn._internal.wire.messages import revocation_to_wire
from inborn._internal.wire.signed_request import ENROLL_CONTEXT, REQUEST_CONTEXT, sign_octets
from inborn.errors import InbornError, InternalError, UnauthenticatedError, UnavailableError
from inborn_proto import ca_pb2, feed_pb2, signed_pb2

__all__ = [
    "AuthorityClient",
    "BadAnswer",
    "BundleMismatch",
    "Enrolled",
    "RequestNumbers",
    "WatchStream",
    "authorize_ca",
    "enroll_with_token",
    "find_api_address",
    "make_csr",
]

Response = TypeVar("Response", bound=Message)

_TIMEOUT = 30.0  # seconds for one unary call: the signer answers in milliseconds, and in seconds in a burst

_BOOTSTRAP = ca_pb2.DESCRIPTOR.services_by_name["Bootstrap"]
_AUTHORITY = ca_pb2.DESCRIPTOR.services_by_name["Authority"]


class BundleMismatch(UnauthenticatedError):
    """The server's bundle is not the one that the token names."""


class BadAnswer(InternalError):
    """The CA answered with something that is not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrollment or a renewal brought, verified."""

    svid: X509Svid
    bundle: X509Bundle
    api_address: str
    """`host:port` of the API port."""
    log_id: bytes


def authorize_ca(trust_domain: TrustDomain) -> Authorizer:
    """The CA's own servers of this trust domain (`/inborn/ca/...`) and nobody else, whatever is federated."""
    prefix = RESERVED_PREFIX + "ca/"
    return lambda peer: peer.trust_domain == trust_domain and peer.path.startswith(prefix)


def make_csr(key: PrivateKey) -> bytes:
    """A PKCS#10 request, DER, that proves possession of the key and says nothing else."""
    algorithm = None if not hasattr(key, "curve") else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.DER)


async def enroll_with_token(token: JoinToken, address: str, key: PrivateKey) -> Enrolled:
    """Enroll at the CA's bootstrap port `address` (`host:port`) under the token, for this key.

    The same key may ask again after a lost reply, so it is kept before this is called. Raises `BundleMismatch` and what
    `verify_chain` raises when the server is not the token's CA (nothing was told to it), `UnavailableError` when there
    is none, the CA's own errors, and `BadAnswer`.
    """
    host, _ = split_target(address)
    tunnel = Tunnel(address, unsafe_unverified_context(["h2"]), only_one=True)
    options = [*MESSAGE_LIMITS, ("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", host)]
    try:
        async with grpc.aio.insecure_channel(tunnel.address, options) as channel:
            stub = AioStub(channel, _BOOTSTRAP)
            try:
                shown = await stub.unary(
                    "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=_TIMEOUT
                )
            except UnavailableError as e:
                raise (tunnel.reason() if tunnel.failure else e) from e
            bundle = _judge_server(token, tunnel, shown)
            body = ca_pb2.EnrollBody(
                trust_domain=token.trust_domain.name, token_id=token.id, csr=make_csr(key)
            ).SerializeToString()
            answer = await stub.unary(
                "Enroll",
                ca_pb2.EnrollRequest(body=body, signature=sign_octets(token.private_key, ENROLL_CONTEXT, body)),
                ca_pb2.EnrollResponse,
                timeout=_TIMEOUT,
            )
    finally:
        tunnel.close()
    api_address = _api_address(shown, host)
    return _judge_answer(answer, key, bundle, api_address)


async def find_api_address(source: IdentitySource, address: str, *, timeout: float = 5.0) -> str:
    """Ask at the CA's bootstrap port `address` where its API port is now: for who is enrolled and finds nobody there.

    The server must be a CA of the source's own trust domain. Raises `UnavailableError`.
    """
    host, _ = split_target(address)
    trust_domain = source.snapshot().trust_domain
    if trust_domain is None:
        raise InternalError("source does not know its trust domain")
    async with grpc_channel(source, address, authorize_ca(trust_domain), aio=True) as channel:
        try:
            shown = await AioStub(channel, _BOOTSTRAP).unary(
                "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=timeout
            )
        except UnavailableError as e:
            raise (channel.reason() or e) from e
    return _api_address(shown, host)


def _api_address(shown: ca_pb2.GetBundleResponse, host: str) -> str:
    """Where the API port is; the host that was dialled stands in where the CA names none. Raises `BadTarget`."""
    api_host, _, api_port = shown.api_address.rpartition(":")
    if not api_host:
        api_host = f"[{host}]" if ":" in host else host
    api_address = f"{api_host}:{api_port}"
    split_target(api_address)
    return api_address


def _judge_server(token: JoinToken, tunnel: Tunnel, shown: ca_pb2.GetBundleResponse) -> X509Bundle:
    """The bundle, if it is the token's and the server at the end of this very connection is its CA."""
    bundle = X509Bundle.parse(token.trust_domain, list(shown.roots))
    if not hmac.compare_digest(bundle.digest(), token.bundle_digest):
        raise BundleMismatch(
            f"server's bundle has digest {bundle.digest().hex()[:16]}, the token's is {token.bundle_digest.hex()[:16]}",
            hint="the CA's root was replaced since the token was made, or this is another server; ask for a new token",
        )
    if tunnel.peer is None:
        raise UnauthenticatedError("server showed no certificate")
    verify_chain(
        peer_chain(tunnel.peer),
        bundles={token.trust_domain: bundle},
        revocations=RevocationSet(),
        authorize=authorize_ca(token.trust_domain),
        now=dt.datetime.now(dt.UTC),
    )
    return bundle


def _judge_answer(
    answer: ca_pb2.EnrollResponse, key: PrivateKey, bundle: X509Bundle, api_address: str, wanted: SpiffeId | None = None
) -> Enrolled:
    """What came back is for our key, under the ID that it says, and leads to the bundle that is held already: roots in
    an answer come through the front and are not believed; the signed feed brings new ones."""
    now = dt.datetime.now(dt.UTC)
    chain = parse_chain(list(answer.chain))
    facts = read_certificate(chain[0])
    if facts.key_hash != key_sha256(key.public_key()):
        raise BadAnswer("certificate is not for the key that was sent")
    if str(facts.spiffe_id) != answer.spiffe_id or (wanted is not None and facts.spiffe_id != wanted):
        raise BadAnswer(f"certificate is for {facts.spiffe_id}, wanted is {wanted or ascii(answer.spiffe_id)}")
    if len(answer.log_id) != LOG_ID_SIZE:
        raise BadAnswer(f"log_id has {len(answer.log_id)} octets, not {LOG_ID_SIZE}")
    verify_chain(
        chain,
        bundles={bundle.trust_domain: bundle},
        revocations=RevocationSet(),
        authorize=lambda _: True,
        now=now,
    )
    svid = X509Svid(spiffe_id=facts.spiffe_id, chain=chain, private_key=key, issued_at=now)
    return Enrolled(svid=svid, bundle=bundle, api_address=api_address, log_id=answer.log_id)


class RequestNumbers:
    """Numbers that rise strictly for one key, also across a crash: a block is reserved before its numbers are used.

    `reserve` keeps a number durably, and returns when it is kept; `reserved` is what it kept last.
    """

    _BLOCK = 1024  # numbers that one write covers, and that a restart skips at most

    def __init__(self, reserved: int, reserve: Callable[[int], None]) -> None:
        self._last = self._reserved = reserved
        self._reserve = reserve

    def next(self) -> int:
        if self._last == self._reserved:
            self._reserve(self._reserved + self._BLOCK)
            self._reserved += self._BLOCK
        self._last += 1
        return self._last


class WatchStream:
    """An open `Watch`: iterate for messages, which are not verified here (see `feed.FeedVerifier`)."""

    def __init__(self, stream: AioStream, reason: Callable[[], InbornError | None]) -> None:
        self._stream = stream
        self._reason = reason

    def __aiter__(self) -> WatchStream:
        return self

    async def __anext__(self) -> feed_pb2.FeedMessage:
        """Raises `UnavailableError` also when the server ends the stream in order."""
        try:
            message: feed_pb2.FeedMessage = await self._stream.__anext__()
        except StopAsyncIteration:
            raise UnavailableError("the CA ended the stream") from None
        except UnavailableError as e:
            raise (self._reason() or e) from e
        return message

    async def ack(self, ack: ca_pb2.WatchAck) -> None:
        await self._stream.send(ca_pb2.WatchRequest(ack=ack))

    def cancel(self) -> None:
        self._stream.cancel()


class AuthorityClient:
    """The CA's API, as one agent or enrolled daemon: signed requests, one at a time, and the stream.

    `source` is the requester's identity (its first SVID signs); `numbers` gives the numbers of that key, and must be
    replaced (`use_numbers`) when the key is. `log_id` is what the caller's own knowledge belongs to.
    """

    def __init__(self, source: IdentitySource, address: str, *, log_id: bytes, numbers: RequestNumbers) -> None:
        self._source = source
        trust_domain = source.snapshot().trust_domain
        if trust_domain is None:
            raise InternalError("source of an authority's client does not know its trust domain")
        self._trust_domain = trust_domain
        self._channel: RotatingAioChannel = grpc_channel(source, address, authorize_ca(self._trust_domain), aio=True)
        self._stub = AioStub(self._channel, _AUTHORITY)
        self._issuing: RequestStream[ca_pb2.IssueResponse] = RequestStream(
            lambda: self._stub.stream("IssueStream", ca_pb2.IssueResponse)
        )
        self._numbers = numbers
        self._lock = asyncio.Lock()
        self.address = address
        self.log_id = log_id

    def use_numbers(self, numbers: RequestNumbers) -> None:
        """Go on with the numbers of another key: to be called where the source's first SVID has a new key."""
        self._numbers = numbers

    async def issue(self, request: ca_pb2.IssueRequest, *, timeout: float = _TIMEOUT) -> ca_pb2.IssueResponse:
        """Ask for certificates of workloads. Raises the CA's errors; one item's error is in its result."""
        payload = request.SerializeToString()
        async with self._lock:
            snapshot = self._source.snapshot()
            key = snapshot.svids, snapshot.bundles
            try:
                return await self._issuing.ask(lambda: self._sign("Issue", payload), key=key, timeout=timeout)
            except UnavailableError as e:
                raise (self._channel.reason() or e) from e

    async def revoke(
        self, serials: Sequence[bytes], reason: int, note: str, *, timeout: float = _TIMEOUT
    ) -> ca_pb2.RevokeOwnResponse:
        """Revoke what was issued to the requester, or fetched by it: all of these serials, or none.

        `reason` is a CRLReason (RFC 5280 5.3.1). Raises the CA's errors.
        """
        request = ca_pb2.RevokeOwnRequest(serials=serials, reason=reason, note=note)
        return await self._ask("Revoke", request.SerializeToString(), ca_pb2.RevokeOwnResponse, timeout)

    async def report(
        self, former_log_id: bytes, revocations: Sequence[Revocation], *, timeout: float = _TIMEOUT
    ) -> ca_pb2.ReportResponse:
        """Tell a restored CA what it does not know: revocations of its former log, and our certificate.

        At most 500 revocations. Raises the CA's errors.
        """
        svid = self._source.snapshot().svid(dt.datetime.now(dt.UTC))
        chain = [certificate.public_bytes(serialization.Encoding.DER) for certificate in svid.chain]
        request = ca_pb2.ReportRequest(
            former_log_id=former_log_id,
            revocations=[revocation_to_wire(revocation) for revocation in revocations],
            chain=chain,
        )
        return await self._ask("Report", request.SerializeToString(), ca_pb2.ReportResponse, timeout)

    async def renew(self, successor: PrivateKey, bundle: X509Bundle, *, timeout: float = _TIMEOUT) -> Enrolled:
        """Ask for a certificate for the successor key, which was kept before. Raises the CA's errors, `BadAnswer`."""
        wanted = self._source.snapshot().svid(dt.datetime.now(dt.UTC)).spiffe_id
        payload = ca_pb2.RenewRequest(csr=make_csr(successor)).SerializeToString()
        answer = await self._ask("Renew", payload, ca_pb2.EnrollResponse, timeout)
        return _judge_answer(answer, successor, bundle, self.address, wanted)

    async def watch(self, *, log_id: bytes, domain_revision: int, node_revision: int = 0) -> WatchStream:
        """Open the stream from where the caller stands."""
        stream = self._stub.stream("Watch", feed_pb2.FeedMessage)
        watching = WatchStream(stream, self._channel.reason)
        hello = ca_pb2.WatchHello(log_id=log_id, domain_revision=domain_revision, node_revision=node_revision)
        try:
            await stream.send(ca_pb2.WatchRequest(hello=hello))
        except UnavailableError as e:
            raise (self._channel.reason() or e) from e
        return watching

    async def close(self) -> None:
        self._issuing.close()
        await self._channel.close()

    async def _ask(self, method: str, payload: bytes, response: type[Response], timeout: float) -> Response:
        """Sign and send. One at a time, because a number that arrives after a higher one is refused."""
        async with self._lock:
            try:
                return await self._stub.unary(method, self._sign(method, payload), response, timeout=timeout)
            except UnavailableError as e:
                raise (self._channel.reason() or e) from e

    def _sign(self, method: str, payload: bytes) -> signed_pb2.SignedRequest:
        """A request with the next number, signed by whose identity the source has now."""
        svid = self._source.snapshot().svid(dt.datetime.now(dt.UTC))
        body = signed_pb2.SignedBody(
            trust_domain=self._trust_domain.name,
            method=f"/{_AUTHORITY.full_name}/{method}",
            log_id=self.log_id,
            number=self._numbers.next(),
            serial=svid.facts.serial,
            payload=payload,
        ).SerializeToString()
        return signed_pb2.SignedRequest(body=body, signature=sign_octets(svid.private_key, REQUEST_CONTEXT, body))
