"""The other end of a TLS connection: its chain, its verification after OpenSSL's, and its end.

`VerifiedSocket` and `VerifiedObject` are what contexts of `tls.context` make. Nothing can be read or written before the
peer was verified, also where a program never calls `do_handshake`, and nothing after it was refused.
"""

from __future__ import annotations

import _ssl  # what 3.11 and 3.12 keep their chains in
import asyncio
import contextlib
import logging
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any

from cryptography import x509

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts, parse_chain
from inborn._internal.tls.connections import Connection, Connections
from inborn._internal.tls.transports import abort_transport
from inborn.errors import InbornError, UnauthenticatedError

__all__ = ["PeerRefused", "VerifiedObject", "VerifiedSocket", "peer_chain"]

log = logging.getLogger(__name__)


class PeerRefused(ssl.SSLCertVerificationError):
    """The peer's certificate was refused; `__cause__` is the error of `inborn.errors` that says why."""


def peer_chain(connection: ssl.SSLSocket | ssl.SSLObject) -> tuple[x509.Certificate, ...]:
    """What the peer presented, leaf first; not verified by this function.

    Raises `UnauthenticatedError` where it presented nothing, `InvalidSvid` where it cannot be read.
    """
    public: Callable[[], list[bytes]] | None = getattr(connection, "get_unverified_chain", None)  # 3.13 and later
    if public is not None:
        ders = list(public() or ())
    else:
        older: Any = connection
        encoding: Any = _ssl.ENCODING_DER
        ders = [certificate.public_bytes(encoding) for certificate in older._sslobj.get_unverified_chain() or ()]
    if not ders:
        raise UnauthenticatedError("peer presented no certificate")
    return parse_chain(ders)


class _Verified:
    """What sockets and objects have in common."""

    spiffe_id: SpiffeId | None = None
    """The peer, once it was verified."""
    svid: CertificateFacts | None = None
    _connection: Connection | None = None
    _refusal: InbornError | None = None
    _forget: Callable[[], object] | None = None

    def _verify(self, close: Callable[[], None]) -> None:
        """After the handshake: verify the peer and look after the connection from now on. Raises `PeerRefused`."""
        if self._connection is not None:
            return
        me: Any = self
        connections: Connections = me.context.connections
        ref = weakref.ref(self)

        def refuse(reason: InbornError) -> None:
            connection = ref()
            if connection is not None:
                connection._refusal = reason
                close()

        try:
            if me.session_reused:
                raise UnauthenticatedError("session was resumed")
            chain = peer_chain(me)
            facts, bundle = connections.verify(chain)
            self._connection = Connection(facts=facts, chain=chain, bundle=bundle, close=refuse)
            connections.add(self._connection)
        except InbornError as e:
            self._refusal = e
            log.warning("peer refused reason=%s", e)
            raise _refused(e) from e
        self._forget = weakref.finalize(self, connections.remove, self._connection)
        self._forget.atexit = False
        self.svid, self.spiffe_id = facts, facts.spiffe_id

    def has_ended(self) -> None:
        """The connection is gone: nobody looks after it from now on. May be called more than once, from any thread."""
        if self._forget is not None:
            self._forget()

    def _check(self) -> None:
        """Before bytes pass: the peer was verified, and not refused since."""
        if self._refusal is not None:
            raise _refused(self._refusal) from self._refusal
        if self._connection is None:
            me: Any = self
            me.do_handshake()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        self._check()
        try:
            return super().read(len, buffer)  # type: ignore[misc]
        finally:
            self._check()  # whoever waited for bytes is told why there are none

    def write(self, data: Any) -> int:
        self._check()
        written: int = super().write(data)  # type: ignore[misc]
        return written


class VerifiedSocket(_Verified, ssl.SSLSocket):
    """A socket whose peer was verified; `spiffe_id` says who it is."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        ref = weakref.ref(self)
        self._verify(lambda: _shut_down(ref))

    def send(self, data: Any, flags: int = 0) -> int:
        if self._sslobj is not None:  # type: ignore[attr-defined]
            self._check()
        return super().send(data, flags)

    def _real_close(self) -> None:  # what close() comes to, once no file of the socket is open any more
        self.has_ended()
        super()._real_close()  # type: ignore[misc]

    def detach(self) -> int:
        self.has_ended()
        return super().detach()


class VerifiedObject(_Verified, ssl.SSLObject):
    """A TLS connection over buffers, as asyncio uses it; `spiffe_id` says who the peer is."""

    def do_handshake(self) -> None:
        super().do_handshake()
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        ref: weakref.ref[ssl.SSLObject] = weakref.ref(self)
        # Where there is no loop of asyncio's, the next read or write raises.
        self._verify(lambda: None if loop is None else abort_transport(ref, loop))

    def unwrap(self) -> Any:
        """Say goodbye. From the first word of it on the connection counts as gone."""
        self.has_ended()
        return super().unwrap()

    def close_with(self, close: Callable[[InbornError], None]) -> None:
        """Say how the connection is closed, for an owner who has the transport at hand."""
        connection = self._connection
        if connection is None:
            raise UnauthenticatedError("peer was not verified")

        ref = weakref.ref(self)

        def refuse(reason: InbornError) -> None:
            ssl_object = ref()
            if ssl_object is not None:
                ssl_object._refusal = reason
            close(reason)

        connection.close = refuse


def _refused(reason: InbornError) -> PeerRefused:
    return PeerRefused(1, f"peer refused: {reason}")


def _shut_down(ref: weakref.ref[VerifiedSocket]) -> None:
    sock = ref()
    if sock is not None:
        with contextlib.suppress(OSError):
            # Not SSLSocket's own: that would drop the TLS layer, and what is buffered would be read as plain bytes.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
