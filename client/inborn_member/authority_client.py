"""The CA's API port, as one member: signed requests, one at a time, and the stream."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives import serialization
from google.protobuf.message import Message

from inborn._internal.grpc_adapter.channel import RotatingAioChannel, grpc_channel
from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.rpc.request_stream import RequestStream
from inborn._internal.rpc.services import AioStream, AioStub
from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey
from inborn._internal.wire.messages import revocation_to_wire
from inborn._internal.wire.signed_request import REQUEST_CONTEXT, sign_octets
from inborn.errors import InbornError, InternalError, UnavailableError
from inborn_member.enrolled import Enrolled, authorize_ca, judge_answer, make_csr
from inborn_member.request_numbers import RequestNumbers
from inborn_proto import ca_pb2, feed_pb2, signed_pb2

__all__ = ["AuthorityClient", "WatchStream"]

Response = TypeVar("Response", bound=Message)

_TIMEOUT = 30.0  # seconds for one unary call: the signer answers in milliseconds, and in seconds in a burst

_AUTHORITY = ca_pb2.DESCRIPTOR.services_by_name["Authority"]


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
        return judge_answer(answer, successor, bundle, self.address, wanted)

    async def watch(self, *, log_id: bytes, domain_revision: int) -> WatchStream:
        """Open the stream from where the caller stands."""
        stream = self._stub.stream("Watch", feed_pb2.FeedMessage)
        watching = WatchStream(stream, self._channel.reason)
        hello = ca_pb2.WatchHello(log_id=log_id, domain_revision=domain_revision)
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
