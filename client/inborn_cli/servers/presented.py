"""Which certificate a server really presents: a file that was written and a reload that was asked for prove nothing."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from inborn._internal.address import Address, parse_target
from inborn.errors import UnavailableError

__all__ = ["CheckedServer", "NotPresented"]

_TIMEOUT = 5.0  # seconds: the server is near, and one that hangs is as good as none
_POSTGRESQL = "postgresql://"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"


class NotPresented(UnavailableError):
    """A server presents another certificate than the one that was written, or does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedServer:
    """Where to look. PostgreSQL is asked for TLS in its own words first."""

    address: Address
    is_postgresql: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT` or `postgresql://HOST:PORT`. Raises `InvalidAddress`."""
        named = text.strip(" ").removesuffix("/")
        address = parse_target(named.removeprefix(_POSTGRESQL))
        return cls(address=address, is_postgresql=named.startswith(_POSTGRESQL))

    def presented(self, identity: Path) -> bytes:
        """The leaf that it presents, DER, to a client with the certificate and key of this PEM file.

        The handshake is for looking alone: the server's certificate is not verified, and nothing is sent. Raises
        `NotPresented`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            context.load_cert_chain(identity)
            with socket.create_connection((self.address.host, self.address.port), timeout=_TIMEOUT) as sock:
                if self.is_postgresql:
                    sock.sendall(_SSL_REQUEST)
                    if sock.recv(1) != b"S":
                        raise NotPresented(f"{self} does not offer TLS")
                with context.wrap_socket(sock) as tls:
                    return tls.getpeercert(binary_form=True) or b""
        except OSError as e:  # of which TLS's errors are a kind
            raise NotPresented(f"{self} does not answer: {e.strerror or e}") from e

    def check(self, identity: Path, leaf: bytes) -> None:
        """Raise `NotPresented` unless it presents this leaf."""
        if self.presented(identity) != leaf:
            raise NotPresented(f"{self} still presents another certificate than {identity}")

    def __str__(self) -> str:
        return f"{_POSTGRESQL if self.is_postgresql else ''}{self.address}"
