"""`ssl` contexts that follow a source: its newest certificate, its bundles, its revocations.

`InbornContext` is a real `ssl.SSLContext` that is never used for a connection itself: it delegates to an inner context
built once for each certificate and bundles (a live context is never changed; CPython crashes). The inner context's
sockets and objects verify the peer again when OpenSSL has: against the bundle of the peer's *own* trust domain alone,
the revocations and the authorizer (`verification.verify`). TLS 1.3 only, no tickets, so no session is ever resumed.

In TLS 1.3 a client has finished before the server has looked at its certificate: a client that a server refuses sees
the end of the connection on its first read, not an alert. The server's log says why.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from inborn._internal.source.snapshot import IdentitySource, NoIdentity
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.tls.connections import Connections, Direction
from inborn._internal.tls.verified_socket import PeerRefused, VerifiedObject, VerifiedSocket
from inborn._internal.verification.freshness import DEFAULT_FRESHNESS, FreshnessPolicy
from inborn._internal.verification.verify import Authorizer

__all__ = ["InbornContext", "PeerRefused", "as_file", "client_context", "server_context", "unsafe_unverified_context"]

log = logging.getLogger(__name__)


def server_context(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> InbornContext:
    """A context for servers: presents the source's identity and demands one of every client.

    `freshness` says what happens when the CA has not been heard for long; by default what was known holds.
    """
    return InbornContext(source, authorize, server_side=True, freshness=freshness)


def client_context(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> InbornContext:
    """A context for clients: the server is known by its SPIFFE ID; a host name is not looked at.

    `freshness` says what happens when the CA has not been heard for long; by default what was known holds.
    """
    return InbornContext(source, authorize, server_side=False, freshness=freshness)


class InbornContext(ssl.SSLContext):
    """See the module. Certificates, trust and verification cannot be set from outside: `load_*` does nothing, so that
    an HTTP library that means to help cannot weaken it.

    The peer's SPIFFE ID stands in the attribute `spiffe_id` of the socket, or of the `ssl_object` of a transport.
    """

    def __new__(
        cls,
        source: IdentitySource,
        authorize: Authorizer,
        *,
        server_side: bool,
        freshness: FreshnessPolicy = DEFAULT_FRESHNESS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> InbornContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)

    def __init__(
        self,
        source: IdentitySource,
        authorize: Authorizer,
        *,
        server_side: bool,
        freshness: FreshnessPolicy = DEFAULT_FRESHNESS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections = Connections(
            source,
            authorize,
            direction=Direction.INBOUND if server_side else Direction.OUTBOUND,
            freshness=freshness,
            monotonic=monotonic,
        )
        self._source = source
        self._server_side = server_side
        self._alpn: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._inner: _InnerContext | None = None
        self.check_hostname = False  # what HTTP libraries read; the inner contexts are what counts
        self.verify_mode = ssl.CERT_REQUIRED

    def inner(self) -> ssl.SSLContext:
        """The context for the next connection. Raises `ssl.SSLError` if this process has no identity to present."""
        snapshot = self._source.snapshot()
        try:
            svid = snapshot.svid(dt.datetime.now(dt.UTC))
        except NoIdentity as e:
            raise ssl.SSLError(1, str(e)) from e  # of one argument it would print a tuple
        with self._lock:
            made = self._inner
            if made is None or made.svid is not svid or made.bundles is not snapshot.bundles:
                made = _InnerContext.make(self, svid, snapshot.bundles, self._alpn)
                self._inner = made
            return made

    def wrap_socket(
        self,
        sock: Any,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        return self.inner().wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname
        )

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.inner().wrap_bio(incoming, outgoing, server_side, server_hostname)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        with self._lock:
            self._alpn = tuple(alpn_protocols)
            self._inner = None

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the identity is the source's."""

    def load_verify_locations(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: trust is the source's."""

    def load_default_certs(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: trust is the source's."""

    def set_default_verify_paths(self) -> None:
        """Does nothing: trust is the source's."""


class _InnerContext(ssl.SSLContext):
    """One certificate and one set of bundles, set once and never changed."""

    sslsocket_class = VerifiedSocket
    sslobject_class = VerifiedObject

    connections: Connections
    svid: X509Svid
    bundles: Mapping[TrustDomain, X509Bundle]

    @classmethod
    def make(
        cls,
        outer: InbornContext,
        svid: X509Svid,
        bundles: Mapping[TrustDomain, X509Bundle],
        alpn: tuple[str, ...],
    ) -> _InnerContext:
        context = cls(ssl.PROTOCOL_TLS_SERVER if outer._server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_TICKET
        if outer._server_side:
            context.num_tickets = 0
        # OpenSSL's first pass knows only one heap of roots; ours, after it, keeps the trust domains apart.
        context.load_verify_locations(cadata=b"".join(bundle.der() for bundle in bundles.values()))
        with as_file(svid.key_pem() + svid.chain_pem()) as path:
            context.load_cert_chain(path)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        context.connections, context.svid, context.bundles = outer.connections, svid, bundles
        return context


def unsafe_unverified_context(alpn: Iterable[str] = ()) -> ssl.SSLContext:
    """A client's context that verifies nothing and presents nothing: for enrollment, which reads the server's chain
    (`tls_peer.peer_chain`) and judges it before anything is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(alpn))
    return context


@contextlib.contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """The bytes under a file name, because OpenSSL takes a key from a file alone: in memory on Linux, elsewhere in a
    file that nobody else can read and that is gone at once."""
    memfd_create: Callable[[str, int], int] | None = getattr(os, "memfd_create", None)
    if memfd_create is not None and os.path.isdir("/proc/self/fd"):
        descriptor = memfd_create("inborn", os.MFD_CLOEXEC)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    descriptor, path = tempfile.mkstemp(prefix="inborn-")  # made with mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)
