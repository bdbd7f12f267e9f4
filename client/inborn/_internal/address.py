"""Hosts and ports as people write them: "127.0.0.1:8443", "[::1]:8443", "ca.example.org:8443".

The one parser for everybody: what the CA listens on, what a client dials, where metrics are served, what a server's
configuration names. It is pure: no name is resolved, and nobody is asked whether the port is free.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from inborn.errors import RequestError

__all__ = ["Address", "InvalidAddress", "check_host", "parse_address", "parse_target"]

MAX_HOST = 253  # bytes of a name in the DNS (RFC 1035 3.1, written as text)
MAX_ADDRESS = MAX_HOST + 8  # brackets, a colon and five digits
MAX_PORT = (1 << 16) - 1

# A host that begins with a hyphen would be an option to whatever program it is handed to.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # underscores: container engines give such names
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# The resolver takes 127.1, 010.0.0.1 and 0x7f000001 for IPv4 addresses, and not everybody for the same one.
_LOOKS_LIKE_IPV4 = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,15})?")  # with the interface of a link-local address
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


class InvalidAddress(RequestError):
    """A string is no host and port."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 stands for: any that is free."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without its brackets."""
    port: int

    def __post_init__(self) -> None:
        check_host(self.host)
        if not 0 <= self.port <= MAX_PORT:
            raise InvalidAddress(f"port is not from 0 to {MAX_PORT}: {self.port}")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dial_host(self) -> str:
        """Where to connect to on this machine: an address that stands for all of them is not one."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- compared, not bound

    @property
    def is_loopback(self) -> bool:
        """Whether the host is a loopback address in digits. A name is none, whatever it resolves to, localhost too."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_ip(self) -> bool:
        """Whether the host is an address in digits, and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_address(text: str) -> Address:
    """Read `HOST:PORT` or `[IPV6]:PORT`, with spaces around it or none: what one listens on. Raises `InvalidAddress`.

    Enforced: the length, letters, digits, hyphens and underscores in names, IPv4 addresses in four decimal numbers,
    brackets around IPv6 addresses and around nothing else, a decimal port from 0 to 65535. Not checked: whether the
    name exists.
    """
    stripped = text.strip(" ")
    if len(stripped) > MAX_ADDRESS:
        raise InvalidAddress(f"address is longer than {MAX_ADDRESS} bytes: {len(stripped)}")
    host, colon, port = stripped.rpartition(":")
    if not colon or not host or _PORT.fullmatch(port) is None or int(port) > MAX_PORT:
        raise InvalidAddress(f"address is not HOST:PORT: {text[:100]!a}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise InvalidAddress(f"only an IPv6 address stands in brackets: {text[:100]!a}")
    elif ":" in host:
        raise InvalidAddress(f"an IPv6 address stands in brackets, as in [::1]:8443: {text[:100]!a}")
    return Address(host, int(port))


def parse_target(text: str) -> Address:
    """Read an address that is dialled: as `parse_address`, without port 0, to which nobody can connect."""
    address = parse_address(text)
    if address.port == 0:
        raise InvalidAddress(f"nobody can connect to port 0: {text[:100]!a}")
    return address


def check_host(host: str) -> str:
    """The host as it is; an IPv6 address has no brackets here. Raises `InvalidAddress` if it cannot be one."""
    if len(host) > MAX_HOST or not _is_host(host):
        raise InvalidAddress(f"not a host name or address: {host[:100]!a}")
    return host


def _is_host(host: str) -> bool:
    if ":" in host:
        return _IPV6.fullmatch(host) is not None and _is_read_by(ipaddress.IPv6Address, host)
    if _LOOKS_LIKE_IPV4.fullmatch(host) is not None:
        return _is_read_by(ipaddress.IPv4Address, host)
    return _NAME.fullmatch(host) is not None


def _is_read_by(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], host: str) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return True
