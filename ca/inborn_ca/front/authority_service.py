"""The API port's service: certificates, renewals, and the feeds. Mutual TLS."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn.errors import InternalError, RequestError
from inborn_ca.front.acknowledgements import Acknowledgements
from inborn_ca.front.caller import Caller
from inborn_ca.front.counted_events import CERTIFICATE_ASKED_FOR
from inborn_ca.front.feed_streams import FeedHub, Stream
from inborn_ca.front.serving import Context, StreamWork, UnaryWork
from inborn_ca.link.link import Link
from inborn_proto import ca_pb2, signed_pb2, signer_pb2

__all__ = ["AuthorityService"]

NAME = "inborn.v1.Authority"
HELLO_TIMEOUT = 10.0  # seconds between the start of a stream and its first message
MAX_WATCH_REQUEST = 256 * 1024  # bytes: an acknowledgement with a hundred laggards of 2 KiB
MAX_LAGGARDS = 100  # as the wire's definition has it

_SIGNING = "/inborn.signer.v1.Signing/"

log = get_logger("ca.watch")


class AuthorityService:
    """Hands requests to the signer as they came; serves the streams from the hub."""

    def __init__(self, link: Link, hub: FeedHub, metrics: Metrics) -> None:
        self._link = link
        self._hub = hub
        self._metrics = metrics
        self._acknowledgements = Acknowledgements(link)

    @property
    def unary(self) -> dict[str, UnaryWork]:
        return {"Issue": self.issue, "Renew": self.renew, "Revoke": self.revoke, "Report": self.report}

    @property
    def streams(self) -> dict[str, StreamWork]:
        return {"Watch": self.watch}

    @property
    def exchanges(self) -> dict[str, UnaryWork]:
        return {"IssueStream": self.issue}

    async def issue(self, request: signed_pb2.SignedRequest, caller: Caller, seconds: float) -> bytes:
        octets = await self._forward("Issue", request, caller, seconds)
        for result in ca_pb2.IssueResponse.FromString(octets).results:
            outcome = result.error.kind if result.WhichOneof("outcome") == "error" else "issued"
            self._metrics.count(CERTIFICATE_ASKED_FOR, outcome=outcome)
        return octets

    async def renew(self, request: signed_pb2.SignedRequest, caller: Caller, seconds: float) -> bytes:
        return await self._forward("Renew", request, caller, seconds)

    async def revoke(self, request: signed_pb2.SignedRequest, caller: Caller, seconds: float) -> bytes:
        return await self._forward("Revoke", request, caller, seconds)

    async def report(self, request: signed_pb2.SignedRequest, caller: Caller, seconds: float) -> bytes:
        return await self._forward("Report", request, caller, seconds)

    async def _forward(self, name: str, request: signed_pb2.SignedRequest, caller: Caller, seconds: float) -> bytes:
        forwarded = signer_pb2.ForwardedRequest(request=request, origin=caller.origin)
        return await self._link.call_bytes(_SIGNING + name, forwarded.SerializeToString(), timeout=seconds)

    async def watch(self, context: Context, caller: Caller) -> None:
        """One stream from its hello to its end. What ends it early is raised, with its type."""
        if caller.spiffe_id is None:
            raise InternalError("Watch was let through without a certificate")
        hello = await _read_hello(context)
        stream = self._hub.register(caller, caller.spiffe_id)
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(self._write(context, stream, hello)),
            asyncio.create_task(self._read(context, stream)),
        ]
        try:
            watched: set[asyncio.Future[Any]] = {*tasks, stream.ended}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if stream.ended.done():
                error = stream.ended.result()
                if error is not None:
                    raise error
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._hub.unregister(stream)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, context: Context, stream: Stream, hello: ca_pb2.WatchHello) -> None:
        await self._hub.fill(stream, hello)
        while True:
            octets = await stream.next()
            if octets is None:
                await self._hub.fill(stream, None)
            else:
                await context.write(octets)

    async def _read(self, context: Context, stream: Stream) -> None:
        """Pass acknowledgements on, a caller's one after the other; returns when it has no more to say."""
        while True:
            octets = await context.read()
            if octets is grpc.aio.EOF:
                return
            request = _parse(octets)
            if request.WhichOneof("content") != "ack":
                raise RequestError("messages after a stream's first must be acknowledgements")
            ack = request.ack
            if len(ack.laggards) > MAX_LAGGARDS:
                raise RequestError(f"acknowledgement names more than {MAX_LAGGARDS} laggards: {len(ack.laggards)}")
            stream.acked_revision = ack.domain_revision
            await self._acknowledgements.send(str(stream.spiffe_id), ack)


async def _read_hello(context: Context) -> ca_pb2.WatchHello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT):
            octets = await context.read()
    except TimeoutError:
        raise RequestError(f"stream has not begun with a hello within {HELLO_TIMEOUT:g} s") from None
    if octets is grpc.aio.EOF:
        raise RequestError("stream has ended before its hello")
    request = _parse(octets)
    if request.WhichOneof("content") != "hello":
        raise RequestError("stream must begin with a hello")
    return request.hello


def _parse(octets: bytes) -> ca_pb2.WatchRequest:
    if len(octets) > MAX_WATCH_REQUEST:
        raise RequestError(f"message of a stream is larger than {MAX_WATCH_REQUEST} bytes: {len(octets)}")
    try:
        return ca_pb2.WatchRequest.FromString(octets)
    except DecodeError as e:
        raise RequestError("message of a stream is not a WatchRequest") from e
