"""Every method of Inborn's services with its message types, read from the descriptors.

The one place that turns a full method name ("/inborn.v1.Authority/Issue") into types, for gRPC and for frames.
The SPIFFE Workload API is not here: it has descriptors of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from inborn.errors import NotFoundError
from inborn_proto import admin_pb2, agent_pb2, ca_pb2, signer_pb2

__all__ = ["RpcMethod", "UnknownMethod", "find_method", "rpc_methods"]

_FILES: tuple[FileDescriptor, ...] = (
    ca_pb2.DESCRIPTOR,
    signer_pb2.DESCRIPTOR,
    admin_pb2.DESCRIPTOR,
    agent_pb2.DESCRIPTOR,
)


class UnknownMethod(NotFoundError):
    """No service has a method of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcMethod:
    """One method: its full name, its types, and which sides stream."""

    name: str
    request: type[Message]
    response: type[Message]
    is_client_streaming: bool
    is_server_streaming: bool


def rpc_methods(service: str = "") -> Iterator[RpcMethod]:
    """All methods, or those of one service named in full ("inborn.v1.Authority")."""
    for method in _table().values():
        if not service or method.name.startswith(f"/{service}/"):
            yield method


def find_method(name: str) -> RpcMethod:
    """The method of that full name. Raises `UnknownMethod`."""
    method = _table().get(name)
    if method is None:
        raise UnknownMethod(f"no such method: {name[:100]!a}")
    return method


@cache
def _table() -> dict[str, RpcMethod]:
    table: dict[str, RpcMethod] = {}
    for file in _FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                name = f"/{service.full_name}/{method.name}"
                table[name] = RpcMethod(
                    name=name,
                    request=GetMessageClass(method.input_type),
                    response=GetMessageClass(method.output_type),
                    is_client_streaming=method.client_streaming,
                    is_server_streaming=method.server_streaming,
                )
    return table
