"""A CA in one process for tests: a real signer and a real front on loopback, joined as in production."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.address import Address
from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.rpc.services import MESSAGE_LIMITS, AioStream, AioStub
from inborn._internal.spiffe.x509_svid import X509Svid, load_certificate, serial_octets
from inborn._internal.wire.methods import find_method
from inborn._internal.wire.signed_request import REQUEST_CONTEXT, sign_octets
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.front.server import Front
from inborn_ca.link.link import Link
from inborn_ca.settings import FrontSettings
from inborn_ca.signer.commands.authority_revocation import Patience
from inborn_ca.signer.main import Signer, open_state
from inborn_proto import admin_pb2, ca_pb2, feed_pb2, signed_pb2

BOOTSTRAP = ca_pb2.DESCRIPTOR.services_by_name["Bootstrap"]
AUTHORITY = ca_pb2.DESCRIPTOR.services_by_name["Authority"]


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Clock:
    """The real time and what was added to it: the front's clock. The signer's and TLS's is the real one."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta(0)

    def __call__(self) -> dt.datetime:
        return now() + self.ahead


def free_port() -> int:
    """A port below the range that the kernel gives to outgoing connections, so that no client takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def make_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@dataclass
class EnrolledAgent:
    """An agent or a daemon: key, chain, and a number that rises."""

    key: ec.EllipticCurvePrivateKey
    response: ca_pb2.EnrollResponse
    number: int = field(default_factory=lambda: int(now().timestamp() * 1000))

    @property
    def spiffe_id(self) -> str:
        return str(self.response.spiffe_id)

    @property
    def key_der(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def svid(self) -> X509Svid:
        return X509Svid.parse(b"".join(self.response.chain), self.key_der)

    def sign(self, method: str, payload: bytes) -> signed_pb2.SignedRequest:
        self.number += 1
        body = signed_pb2.SignedBody(
            trust_domain=self.svid.spiffe_id.trust_domain.name,
            method=f"/inborn.v1.Authority/{method}",
            log_id=self.response.log_id,
            number=self.number,
            serial=serial_octets(load_certificate(self.response.chain[0]).serial_number),
            payload=payload,
        ).SerializeToString()
        return signed_pb2.SignedRequest(body=body, signature=sign_octets(self.key, REQUEST_CONTEXT, body))


@dataclass
class Rig:
    """The running CA and short ways to use it."""

    signer: Signer
    front: Front
    settings: FrontSettings
    admin_socket: Path
    clock: Clock
    to_front: Link
    """The signer's end of the link between the two."""
    to_signer: Link
    """The front's end."""
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def roots_pem(self) -> bytes:
        return self.signer.state.bundle.pem()

    def channel(self, address: Address, svid: X509Svid | None = None) -> grpc.aio.Channel:
        pair = (svid.key_pem(), svid.chain_pem()) if svid is not None else (None, None)
        channel = grpc.aio.secure_channel(
            str(address),
            grpc.ssl_channel_credentials(self.roots_pem, *pair),
            options=[
                ("grpc.ssl_target_name_override", self.signer.state.ca_name("front").alias),
                ("grpc.use_local_subchannel_pool", 1),
                *MESSAGE_LIMITS,
            ],
        )
        self.channels.append(channel)
        return channel

    def bootstrap(self) -> AioStub:
        return AioStub(self.channel(self.settings.bootstrap), BOOTSTRAP)

    def authority(self, member: EnrolledAgent | None) -> AioStub:
        return AioStub(self.channel(self.settings.api, member.svid if member is not None else None), AUTHORITY)

    async def admin(self, name: str, request: Any) -> Any:
        """One of the admin's verbs, over the signer's own socket."""
        method = find_method(f"/inborn.admin.v1.Admin/{name}")
        _, connection = await asyncio.get_running_loop().create_unix_connection(
            lambda: Link(name="the signer"), str(self.admin_socket)
        )
        assert isinstance(connection, Link)
        try:
            return await connection.call(method.name, request, method.response)
        finally:
            connection.close()

    async def metrics(self) -> str:
        """What the port for metrics answers, its head included."""
        assert self.settings.metrics is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.metrics.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        return text

    async def token(self, **fields: Any) -> JoinToken:
        return parse_join_token((await self.admin("CreateToken", admin_pb2.CreateTokenRequest(**fields))).token)

    async def enroll(self, **fields: Any) -> EnrolledAgent:
        token = await self.token(**fields)
        key = ec.generate_private_key(ec.SECP256R1())
        request = enroll_request(token, make_csr(key))
        response = await self.bootstrap().unary("Enroll", request, ca_pb2.EnrollResponse, timeout=10)
        return EnrolledAgent(key=key, response=response)

    async def watch(self, member: EnrolledAgent, hello: ca_pb2.WatchHello | None = None) -> AioStream:
        stream = self.authority(member).stream("Watch", feed_pb2.FeedMessage)
        await stream.send(ca_pb2.WatchRequest(hello=hello or ca_pb2.WatchHello()))
        return stream


def enroll_request(token: JoinToken, csr: bytes) -> ca_pb2.EnrollRequest:
    body = ca_pb2.EnrollBody(
        trust_domain=token.trust_domain.name, kind="join_token", evidence=token.id, csr=csr
    ).SerializeToString()
    return ca_pb2.EnrollRequest(body=body, proof=sign_octets(token.private_key, enroll_context("join_token"), body))


def body_of(message: feed_pb2.FeedMessage) -> feed_pb2.FeedBody:
    return feed_pb2.FeedBody.FromString(message.body)


@asynccontextmanager
async def running_ca(
    directory: Path,
    *,
    metrics: bool = False,
    patience: Patience | None = None,
    settings: FrontSettings | None = None,
    **lifetimes: dt.timedelta,
) -> AsyncIterator[Rig]:
    """A CA with its ports open; on those of another one, which has ended, with its `settings`."""
    state = open_state(directory / "ca", trust_domain="example.org", lifetimes=Lifetimes(**lifetimes), clock=now)
    signer = Signer(state, min_ttl=dt.timedelta(seconds=1), patience=patience)
    ours, theirs = socket.socketpair()
    admin_socket = directory / "ca" / "admin" / "signer.sock"
    to_front = await signer.start(theirs, admin_socket)
    settings = settings or FrontSettings(
        bootstrap=Address("127.0.0.1", free_port()),
        api=Address("127.0.0.1", free_port()),
        metrics=Address("127.0.0.1", free_port()) if metrics else None,
    )
    front: Front | None = None
    link = await Link.open(
        ours, on_requests=lambda requests: front.on_requests(requests) if front is not None else None, name="the signer"
    )
    clock = Clock()
    front = Front(link, settings, clock)
    rig = Rig(
        signer=signer,
        front=front,
        settings=settings,
        clock=clock,
        to_front=to_front,
        to_signer=link,
        admin_socket=admin_socket,
    )
    try:
        await front.start()
        yield rig
    finally:
        for channel in rig.channels:
            await channel.close()
        await front.close()
        await signer.close()
