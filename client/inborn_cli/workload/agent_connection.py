"""How a verb asks the agent of this machine: gRPC over its UNIX sockets. (The CA: see `rpc.admin_client`.)"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inborn._internal.host import paths
from inborn.errors import DeniedError, UnavailableError

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

__all__ = ["AgentNotRunning", "ask_agent", "workload_endpoint"]

R = TypeVar("R", bound="Message")

# An agent answers from memory; attesting a process with its container and hashing its executable takes longest.
_DEADLINE = 15.0  # seconds


class AgentNotRunning(UnavailableError):
    """Nobody listens on an agent's socket."""


def ask_agent(endpoint: str | Path, service: ServiceDescriptor, method: str, request: Message, response: type[R]) -> R:
    """Call one method of an agent's socket. Raises what the agent raised, `AgentNotRunning`, or `BadEndpoint`."""
    import grpc

    from inborn._internal.rpc.services import Stub
    from inborn._internal.source.workload_api import parse_endpoint

    target = parse_endpoint(endpoint)
    if target.startswith("unix:"):
        _require_socket(target.removeprefix("unix:"))
    # The proxy of the environment is for HTTP, and not for an agent of this machine.
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        metadata = (("workload.spiffe.io", "true"),)  # SPIFFE Workload Endpoint 5
        return Stub(channel, service).unary(method, request, response, timeout=_DEADLINE, metadata=metadata)


def _require_socket(path: str) -> None:
    """Say in our words what gRPC would say in its own after its deadline."""
    try:
        os.stat(path)
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM):
            raise DeniedError(f"no permission to open {path}", hint="it is for root and the agent's user") from e
        raise AgentNotRunning(
            f"no agent listens at {path}", hint="is it running? start it with `inborn up` or `inborn agent run`"
        ) from e


def workload_endpoint(named: str | None, data_dir: Path | None) -> str:
    """The Workload API's address: the one named (a path may be relative), that of a data directory that was named,
    else as `source.workload_api.default_socket` finds it. Raises `BadEndpoint`."""
    from inborn._internal.source.workload_api import default_socket, parse_endpoint

    if named:
        endpoint = named if ":" in named else f"unix://{Path(named).absolute()}"
    elif data_dir is not None:
        endpoint = f"unix://{paths.workload_socket(paths.data_dir(data_dir))}"
    else:
        endpoint = default_socket()
    parse_endpoint(endpoint)
    return endpoint
