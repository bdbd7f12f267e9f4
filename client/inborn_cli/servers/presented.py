"""Which certificate a server really presents: a file that was written and a reload that was asked for prove nothing."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from inborn.errors import RequestError, UnavailableError

__all__ = ["CheckedServer", "NotPresented"]

_TIMEOUT = 5.0  # seconds: the server is near, and one that hangs is as good as none
_ADDRESS = re.compile(r"(?:(postgresql)://)?(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})/?")
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"


class NotPresented(UnavailableError):
    """A server presents another certificate than the one that was written, or does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedServer:
    """Where to look. PostgreSQL is asked for TLS in its own words first."""

    host: str
    port: int
    is_postgresql: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT` or `postgresql://HOST:PORT`. Raises `RequestError`."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or not 0 < int(match[4]) < 65536:
            raise RequestError(f"not HOST:PORT or postgresql://HOST:PORT: {text[:100]!a}")
        return cls(host=match[2] or match[3], port=int(match[4]), is_postgresql=match[1] is not None)

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
            with socket.create_connection((self.host, self.port), timeout=_TIMEOUT) as sock:
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
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'postgresql://' if self.is_postgresql else ''}{host}:{self.port}"
