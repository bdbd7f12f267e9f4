"""How a verb asks the agent of this machine: gRPC over its UNIX sockets. (The CA: see `inborn.admin`.)"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inborn import paths
from inborn.errors import DeniedError, RequestError, UnavailableError

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

__all__ = ["AgentNotRunning", "InvalidEndpoint", "ask_agent", "parse_endpoint", "workload_endpoint"]

R = TypeVar("R", bound="Message")

# An agent answers from memory; attesting a process with its container and hashing its executable takes longest.
_DEADLINE = 15.0  # seconds

_SYSTEM_SOCKET = Path("/run/inborn/api.sock")


class AgentNotRunning(UnavailableError):
    """Nobody listens on an agent's socket."""


class InvalidEndpoint(RequestError):
    """The address of a Workload API is not one that we can use."""


def ask_agent(socket: Path, service: ServiceDescriptor, method: str, request: Message, response: type[R]) -> R:
    """Call one method of an agent's socket. Raises what the agent raised, or `AgentNotRunning`."""
    _require_socket(socket)

    import grpc

    from inborn.rpc import Stub

    # The proxy of the environment is for HTTP, and not for a socket of this machine.
    with grpc.insecure_channel(f"unix:{socket}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        metadata = (("workload.spiffe.io", "true"),)  # SPIFFE Workload Endpoint 6.1
        return Stub(channel, service).unary(method, request, response, timeout=_DEADLINE, metadata=metadata)


def _require_socket(socket: Path) -> None:
    """Say in our words what gRPC would say in its own after its deadline."""
    try:
        os.stat(socket)
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM):
            raise DeniedError(f"no permission to open {socket}", hint="it is for root and the agent's user") from e
        raise AgentNotRunning(
            f"no agent listens at {socket}", hint="is it running? start it with `inborn up` or `inborn agent run`"
        ) from e


def workload_endpoint(named: str | None, data_dir: Path | None) -> Path:
    """The Workload API's socket: the one named, that of a data directory that was named, `SPIFFE_ENDPOINT_SOCKET`
    (SPIFFE Workload Endpoint 4), this user's own, else the system's."""
    if named:
        return parse_endpoint(named)
    if data_dir is not None:
        return paths.workload_socket(paths.data_dir(data_dir))
    if endpoint := os.environ.get("SPIFFE_ENDPOINT_SOCKET"):
        return parse_endpoint(endpoint)
    own = paths.workload_socket()
    return own if own.exists() or not _SYSTEM_SOCKET.exists() else _SYSTEM_SOCKET


def parse_endpoint(text: str) -> Path:
    """Take a path or `unix:///path`. Refused: every other scheme, an authority, a path that is not absolute there."""
    if not text or not text.isprintable():
        raise InvalidEndpoint("address of the Workload API is empty or has a control character")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text.removeprefix("unix:")).absolute()
    if scheme != "unix":
        raise InvalidEndpoint(
            f"address of the Workload API is not a UNIX socket: {text[:200]!a}",
            hint="for example unix:///run/inborn/api.sock",
        )
    if not rest.startswith("/") or not rest.strip("/") or "?" in rest or "#" in rest:
        raise InvalidEndpoint(f"address of the Workload API must be unix:///path: {text[:200]!a}")
    return Path(rest)
