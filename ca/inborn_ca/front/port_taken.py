"""A port that cannot be listened on: whose option names it, and why, which gRPC does not tell."""

from __future__ import annotations

import socket

from inborn._internal.address import Address
from inborn.errors import UnavailableError

__all__ = ["PortTaken", "port_taken", "try_to_bind"]


class PortTaken(UnavailableError):
    """A port that the front should listen on belongs to somebody else."""


def port_taken(address: Address, option: str, error: Exception) -> PortTaken:
    """The error that says so to whoever started the CA."""
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else "is it taken?"
    return PortTaken(
        f"cannot listen on {address} ({option}): {reason}",
        hint="stop what uses the port, or choose another port or --listen address",
    )


def try_to_bind(address: Address) -> None:
    """Bind the address and let it go again. Raises the `OSError` that gRPC would hide behind a line of its own at
    each try. Somebody may take the port in between: then gRPC refuses as before."""
    for family, kind, protocol, _, where in socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind(where)
