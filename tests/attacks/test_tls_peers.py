"""Attacks on TLS peers: forged, ambiguous, expired, revoked, resumed. By clients and by servers alike."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.rpc.services import error_from_rpc
from inborn._internal.source.snapshot import Snapshot, StaticSource
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.tls.context import as_file, client_context, server_context
from inborn._internal.tls.verified_socket import PeerRefused
from inborn._internal.verification.verify import Authorizer, UntrustedCertificate, authorize_any
from inborn.testing import MemoryAuthority

SERVER = "spiffe://example.org/server"
CLIENT = "spiffe://example.org/client"
OTHER = "spiffe://example.org/other"
WAIT = 20.0  # seconds, after which a call would end by itself
AT_ONCE = WAIT / 4  # milliseconds, where nobody else works: `make bench` measures it


class EchoServer:
    """Accepts, and echoes to whoever passes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._refusals: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain:
            try:
                with self.context.wrap_socket(plain, server_side=True) as sock:
                    while data := sock.recv(1024):
                        sock.sendall(data)
            except OSError as e:
                self._refusals.put(e)

    def connect(self, context: ssl.SSLContext, **options: Any) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)
        return context.wrap_socket(plain, server_hostname="server", **options)

    def refusal(self) -> str:
        """What the next handshake that failed raised."""
        return str(self._refusals.get(timeout=WAIT))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


Serve = Callable[..., EchoServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[EchoServer] = []

    def make(source: StaticSource, authorize: Authorizer | None = None) -> EchoServer:
        servers.append(EchoServer(server_context(source, authorize or authorize_any())))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def echo(sock: ssl.SSLSocket) -> bytes:
    sock.sendall(b"ping")
    return sock.recv(10)


def is_cut_off(sock: ssl.SSLSocket) -> bool:
    """Whether the other side refuses: the end, or an error, and never an answer."""
    try:
        return echo(sock) == b""
    except OSError:
        return True


def forged(signer: MemoryAuthority, spiffe_id: str, *uris: str) -> X509Svid:
    """An SVID that `signer` may not give: for an ID of another domain, or with further URI names."""

    key = ec.generate_private_key(ec.SECP256R1())
    leaf = signer.certificate(spiffe_id, key.public_key(), uris=uris)
    return X509Svid(spiffe_id=parse_spiffe_id(spiffe_id), chain=(leaf, signer.issuing), private_key=key)


@pytest.fixture
def partner() -> MemoryAuthority:
    """A trust domain that is federated: its bundle is held."""
    return MemoryAuthority("partner.org")


def federated(authority: MemoryAuthority, partner: MemoryAuthority, svid: X509Svid) -> StaticSource:
    return authority.source_of(svid, federated={partner.trust_domain: partner.bundle})


# -- forged ------------------------------------------------------------------------------------------------------------


def test_federated_domain_cannot_name_our_ids_to_a_server(
    authority: MemoryAuthority, partner: MemoryAuthority, serve: Serve
) -> None:
    server = serve(federated(authority, partner, authority.svid(SERVER)))
    attacker = federated(authority, partner, forged(partner, CLIENT))
    assert is_cut_off(server.connect(client_context(attacker, authorize_any())))
    assert "does not lead to the bundle of example.org" in server.refusal()


def test_we_cannot_name_a_federated_domains_ids_to_a_client(
    authority: MemoryAuthority, partner: MemoryAuthority, serve: Serve
) -> None:
    server = serve(federated(authority, partner, forged(authority, "spiffe://partner.org/server")))
    client = federated(authority, partner, authority.svid(CLIENT))
    with pytest.raises(PeerRefused, match=r"bundle of partner\.org"):
        server.connect(client_context(client, lambda _: True))


def test_federated_peer_with_its_own_id_is_let_in(
    authority: MemoryAuthority, partner: MemoryAuthority, serve: Serve
) -> None:
    server = serve(federated(authority, partner, authority.svid(SERVER)))
    client = partner.source_of(
        partner.svid("spiffe://partner.org/client"), federated={authority.trust_domain: authority.bundle}
    )
    assert echo(server.connect(client_context(client, authorize_any()))) == b"ping"


def test_two_uri_names_are_refused_by_client_and_server(authority: MemoryAuthority, serve: Serve) -> None:
    ambiguous = authority.source_of(forged(authority, OTHER, CLIENT))
    server = serve(authority.source(SERVER))
    assert is_cut_off(server.connect(client_context(ambiguous, authorize_any())))
    assert "exactly one URI name, has 2" in server.refusal()
    with pytest.raises(PeerRefused, match="exactly one URI name"):
        serve(ambiguous).connect(client_context(authority.source(CLIENT), authorize_any()))


def test_inborns_own_ids_are_nobody_to_a_program(authority: MemoryAuthority, serve: Serve) -> None:
    agent = authority.source("spiffe://example.org/inborn/agent/1")
    assert is_cut_off(serve(authority.source(SERVER)).connect(client_context(agent, authorize_any())))
    with pytest.raises(PeerRefused, match="not authorized"):
        serve(agent, lambda _: True).connect(client_context(authority.source(CLIENT), authorize_any()))


def test_grpc_server_refuses_ids_that_a_federated_domain_forged(
    authority: MemoryAuthority, partner: MemoryAuthority
) -> None:
    source = federated(authority, partner, authority.svid(SERVER))
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[grpc_server_interceptor(source, authorize_any())])
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"in")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", {"m": handler}),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    try:
        attacker = federated(authority, partner, forged(partner, CLIENT))
        with grpc_channel(attacker, f"127.0.0.1:{port}", authorize_any()) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/t/m")(b"", timeout=WAIT)
        assert isinstance(error_from_rpc(caught.value), UntrustedCertificate)
    finally:
        server.stop(0).wait()


# -- expired and revoked on an open connection -------------------------------------------------------------------------


def test_expired_client_is_cut_off_on_its_open_connection(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(authority.source(SERVER))
    short = authority.source(CLIENT, ttl=dt.timedelta(seconds=2))
    sock = server.connect(client_context(short, authorize_any()))
    bystander = server.connect(client_context(authority.source(OTHER), authorize_any()))
    assert echo(sock) == b"ping"
    assert sock.recv(10) == b""  # nobody said anything: the server closed an idle connection
    assert time.time() >= short.snapshot().svids[0].leaf.not_valid_after_utc.timestamp()
    assert echo(bystander) == b"ping"


def test_expired_server_is_cut_off_by_its_client(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(authority.source(SERVER, ttl=dt.timedelta(seconds=2)))
    sock = server.connect(client_context(authority.source(CLIENT), authorize_any()))
    assert echo(sock) == b"ping"
    with pytest.raises(PeerRefused, match="expired"):
        sock.recv(10)


def apart(authority: MemoryAuthority, spiffe_id: str) -> StaticSource:
    """A source that hears of no revocation, so that it is the other side that acts."""
    svid = authority.svid(spiffe_id)
    return StaticSource(
        Snapshot(
            trust_domain=authority.trust_domain,
            svids=(svid,),
            bundles={authority.trust_domain: authority.bundle},
            revocations=RevocationSet(),
        )
    )


def test_revoked_client_is_cut_off_and_bystanders_are_not(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(authority.source(SERVER))
    context = client_context(apart(authority, CLIENT), authorize_any())
    sock = server.connect(context)
    bystander = server.connect(client_context(apart(authority, OTHER), authorize_any()))
    assert echo(sock) == echo(bystander) == b"ping"
    began = time.monotonic()
    authority.revoke(CLIENT)
    assert sock.recv(10) == b""
    assert time.monotonic() - began < AT_ONCE
    assert echo(bystander) == b"ping"
    assert is_cut_off(server.connect(context))


def test_revoked_server_is_cut_off_by_its_client(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(apart(authority, SERVER))
    sock = server.connect(client_context(authority.source(CLIENT), authorize_any()))
    assert echo(sock) == b"ping"
    authority.revoke(SERVER)
    with pytest.raises(PeerRefused, match="revoked"):
        sock.recv(10)
    with pytest.raises(PeerRefused, match="revoked"):
        sock.sendall(b"x")


def test_what_a_revoked_peer_sent_before_is_not_read_any_more(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(apart(authority, SERVER))
    sock = server.connect(client_context(authority.source(CLIENT), authorize_any()))
    sock.sendall(b"ping")
    while not sock.pending() and sock.recv(1) != b"p":  # the first byte; the others lie decrypted in the buffer
        pass
    authority.revoke(SERVER)
    with pytest.raises(PeerRefused):
        sock.recv(10)


async def test_idle_asyncio_connection_of_a_revoked_client_is_closed(authority: MemoryAuthority) -> None:
    lost = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        except OSError:
            pass
        finally:
            lost.set()
            writer.close()

    context = server_context(authority.source(SERVER), authorize_any())
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_context(apart(authority, CLIENT), authorize_any())
    )
    writer.write(b"ping")
    assert await reader.read(10) == b"ping"
    assert str(writer.get_extra_info("ssl_object").spiffe_id) == SERVER
    authority.revoke(CLIENT)
    async with asyncio.timeout(AT_ONCE):
        await lost.wait()
        assert await reader.read(10) == b""
    writer.close()
    server.close()


async def test_many_connections_of_a_revoked_client_are_closed_together(authority: MemoryAuthority) -> None:
    """Finding what to close is dear: it must be done once, not for each connection."""
    context = server_context(authority.source(SERVER), authorize_any())
    served: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: served.append(writer), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    revoked = client_context(apart(authority, CLIENT), authorize_any())
    bystander = client_context(apart(authority, OTHER), authorize_any())
    doomed = [await asyncio.open_connection("127.0.0.1", port, ssl=revoked) for _ in range(60)]
    spared = [await asyncio.open_connection("127.0.0.1", port, ssl=bystander) for _ in range(5)]
    while len(served) < 65:
        await asyncio.sleep(0)  # the server has yet to see the last ones
    authority.revoke(CLIENT)
    async with asyncio.timeout(AT_ONCE):
        for reader, _ in doomed:
            assert await reader.read(1) == b""
    assert len(context.connections) == 5
    for reader, writer in spared:
        assert not reader.at_eof()
        writer.close()
    for writer in served:
        writer.close()
    server.close()


def test_peer_whose_root_is_withdrawn_is_cut_off(authority: MemoryAuthority, serve: Serve) -> None:
    source = authority.source(SERVER)
    server = serve(source)
    sock = server.connect(client_context(apart(authority, CLIENT), authorize_any()))
    assert echo(sock) == b"ping"
    replaced = {authority.trust_domain: MemoryAuthority("example.org").bundle}
    source.replace(dataclasses.replace(source.snapshot(), bundles=replaced))
    assert is_cut_off(sock)


# -- ways around the check ---------------------------------------------------------------------------------------------


def test_no_session_is_resumed(authority: MemoryAuthority, serve: Serve) -> None:
    """A stock client that keeps its session and comes back as somebody who was revoked meanwhile."""
    server = serve(authority.source(SERVER))
    svid = authority.svid(CLIENT)
    stock = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stock.check_hostname = False
    stock.load_verify_locations(cadata=authority.bundle.pem().decode())
    with as_file(svid.key_pem() + svid.chain_pem()) as path:
        stock.load_cert_chain(path)
    first = server.connect(stock)
    assert echo(first) == b"ping"
    session = first.session
    assert session is None or not session.has_ticket
    first.close()
    again = server.connect(stock, session=session) if session else server.connect(stock)
    assert not again.session_reused
    authority.revoke(CLIENT)
    assert is_cut_off(server.connect(stock))


def test_older_tls_is_refused(authority: MemoryAuthority, serve: Serve) -> None:
    stock = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stock.check_hostname = False
    stock.verify_mode = ssl.CERT_NONE
    stock.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        serve(authority.source(SERVER)).connect(stock)


def test_client_without_a_certificate_is_refused(authority: MemoryAuthority, serve: Serve) -> None:
    stock = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stock.check_hostname = False
    stock.verify_mode = ssl.CERT_NONE
    assert is_cut_off(serve(authority.source(SERVER)).connect(stock))


def test_program_that_never_shakes_hands_reads_nothing_unverified(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(authority.source(SERVER))
    authority.revoke(SERVER)
    context = client_context(authority.source(CLIENT), authorize_any())
    sock = server.connect(context, do_handshake_on_connect=False)
    with pytest.raises(PeerRefused, match="revoked"):
        sock.sendall(b"secret")
    with pytest.raises(PeerRefused, match="revoked"):
        sock.recv(10)


def test_http_library_cannot_weaken_the_context(authority: MemoryAuthority, serve: Serve) -> None:
    stranger = MemoryAuthority("example.org")
    context = client_context(authority.source(CLIENT), authorize_any())
    context.verify_mode = ssl.CERT_NONE
    context.load_verify_locations(cadata=stranger.bundle.pem().decode())
    context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLCertVerificationError):
        serve(stranger.source(SERVER)).connect(context)


def test_http_client_refuses_a_server_that_is_not_authorized(authority: MemoryAuthority, serve: Serve) -> None:
    server = serve(authority.source(OTHER))
    context = client_context(authority.source(CLIENT), lambda peer: str(peer) == SERVER)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=WAIT)
    with pytest.raises(PeerRefused, match="not authorized"):
        connection.request("GET", "/")


def test_process_without_an_identity_neither_serves_nor_calls(authority: MemoryAuthority, serve: Serve) -> None:
    nobody = authority.source_of(reason="entry was deleted")
    with pytest.raises(ssl.SSLError, match="entry was deleted"):
        serve(authority.source(SERVER)).connect(client_context(nobody, authorize_any()))
    server = serve(nobody)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server.connect(client_context(authority.source(CLIENT), authorize_any()))
    assert "entry was deleted" in server.refusal()


async def test_asyncio_server_without_an_identity_closes_what_it_cannot_serve(authority: MemoryAuthority) -> None:
    context = server_context(authority.source_of(reason="entry was deleted"), authorize_any())
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    async with asyncio.timeout(WAIT):
        assert await reader.read(1) == b""
    writer.close()
    server.close()


def test_session_ticket_kept_from_before_opens_nothing_at_a_grpc_server(authority: MemoryAuthority) -> None:
    """gRPC's own TLS resumes it, and looks neither at revocation nor at the end of the certificate."""
    from grpc._cython import cygrpc

    reused: list[bytes] = []

    def answer(request: bytes, context: Any) -> bytes:
        reused.append(context.auth_context()["ssl_session_reused"][0])
        return request

    source = authority.source(SERVER, dns_names=["server.example.org"])
    server = grpc.server(futures.ThreadPoolExecutor(1), interceptors=[grpc_server_interceptor(source, authorize_any())])
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    svid = authority.svid(CLIENT)
    credentials = grpc.ssl_channel_credentials(authority.bundle.pem(), svid.key_pem(), svid.chain_pem())
    options: list[tuple[str, Any]] = [
        ("grpc.ssl_target_name_override", "server.example.org"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_session_cache", cygrpc.SSLSessionCacheLRU(4)),
    ]

    def call() -> bytes:
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            return bytes(channel.unary_unary("/test.Echo/Echo")(b"x", timeout=WAIT))

    assert [call(), call()] == [b"x", b"x"]
    assert reused == [b"false", b"true"]
    authority.revoke(CLIENT)
    with pytest.raises(grpc.RpcError) as refused:
        call()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    server.stop(0)
