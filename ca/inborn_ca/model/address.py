"""Addresses as people write them: "127.0.0.1:8443", "[::1]:8443", "ca.example.org:8443"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from inborn.errors import RequestError

__all__ = ["Address", "InvalidAddress", "check_host"]

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")  # names, IPv4, and IPv6 without its brackets


class InvalidAddress(RequestError):
    """A string is no host and port."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for: any that is free."""

    host: str
    port: int

    def __post_init__(self) -> None:
        check_host(self.host)
        if not 0 <= self.port <= 65535:
            raise InvalidAddress(f"port is not from 0 to 65535: {self.port}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take "host:port". Raises `InvalidAddress`."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5:
            raise InvalidAddress(f"not host:port: {text[:100]!a}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidAddress(f"an IPv6 address stands in brackets: {text[:100]!a}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dial_host(self) -> str:
        """Where to connect to on this machine: an address that stands for all of them is not one."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- compared, not bound


def check_host(host: str) -> str:
    """The host as it is. Raises `InvalidAddress` if it cannot be one."""
    if not _HOST.fullmatch(host):
        raise InvalidAddress(f"not a host name or address: {host[:100]!a}")
    return host
