"""The client of the socket that an agent offers to workloads: SPIFFE's Workload API, and our own service beside it.

Where the socket is: see `default_socket`. Nothing that comes over it is judged here.
"""

from __future__ import annotations

import os
from pathlib import Path

import grpc.aio

from inborn._internal.address import InvalidAddress, parse_target
from inborn._internal.host.paths import MAX_SOCKET_PATH, workload_socket
from inborn._internal.rpc.services import MESSAGE_LIMITS, AioStream, AioStub
from inborn.errors import RequestError
from inborn_proto import agent_pb2, workload

__all__ = ["ENDPOINT_VARIABLE", "BadEndpoint", "WorkloadApiClient", "acknowledge", "default_socket", "parse_endpoint"]

ENDPOINT_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"  # SPIFFE Workload Endpoint 4
_HEADER = (("workload.spiffe.io", "true"),)  # SPIFFE Workload Endpoint 5: against requests that a browser forges
_LOCAL = agent_pb2.DESCRIPTOR.services_by_name["Local"]
_TIMEOUT = 10.0  # seconds for one unary call: the agent is on this machine


class BadEndpoint(RequestError):
    """The address of a Workload API is not one."""


def default_socket() -> str:
    """Where the Workload API is, unless a program says: what SPIFFE_ENDPOINT_SOCKET says, else the socket of an agent
    with this user's data directory (`host.paths`), else, where that is not there, the machine's agent's."""
    if named := os.environ.get(ENDPOINT_VARIABLE):
        return named
    own, machine = workload_socket(), Path("/run/inborn/api.sock")
    return f"unix://{machine if not own.exists() and machine.exists() else own}"


def parse_endpoint(endpoint: str | Path) -> str:
    """gRPC's target for `unix:///path`, `tcp://IP:port` (SPIFFE Workload Endpoint 4) or a plain absolute path.

    Raises `BadEndpoint`.
    """
    text = str(endpoint)
    scheme, colon, rest = text.partition(":")
    if text.startswith("/") or (colon and scheme == "unix"):
        path = text if text.startswith("/") else rest
        if path.startswith("//"):
            path = path[2:]
        if not path.startswith("/") or "?" in path or "#" in path:
            raise BadEndpoint(f"endpoint is not unix:///path with an absolute path alone: {text[:200]!a}")
        if len(path.encode()) > MAX_SOCKET_PATH:
            raise BadEndpoint(f"path of a socket is longer than {MAX_SOCKET_PATH} bytes: {len(path.encode())}")
        return f"unix:{path}"
    if colon and scheme == "tcp":
        try:
            address = parse_target(rest.removeprefix("//"))
        except InvalidAddress:
            raise BadEndpoint(f"endpoint is not tcp://IP:port: {text[:200]!a}") from None
        if not rest.startswith("//") or not address.is_ip:
            raise BadEndpoint(f"endpoint is not tcp://IP:port: {text[:200]!a}")
        return f"ipv6:{address}" if ":" in address.host else f"ipv4:{address}"
    raise BadEndpoint(f"endpoint begins with neither unix: nor tcp: {text[:200]!a}")


class WorkloadApiClient:
    """One connection to an agent, on the running event loop. Raises errors of `inborn.errors`."""

    def __init__(self, endpoint: str | Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            parse_endpoint(endpoint), [*MESSAGE_LIMITS, ("grpc.use_local_subchannel_pool", 1)]
        )
        self._spiffe = AioStub(self._channel, workload.SERVICE)
        self._local = AioStub(self._channel, _LOCAL)

    async def __aenter__(self) -> WorkloadApiClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._channel.close()

    def fetch_x509_svid(self) -> AioStream:
        """The stream of `X509SVIDResponse`; each is the full state (Workload API 5.2.1)."""
        return self._spiffe.stream(
            "FetchX509SVID", workload.X509SVIDResponse, request=workload.X509SVIDRequest(), metadata=_HEADER
        )

    async def attend(self, log_id: bytes, revocation_seq: int) -> AioStream:
        """The stream of `AttendResponse`, told what is applied already; acknowledge with `acknowledge`.

        Raises `UnimplementedError` on its first read where the agent is not Inborn's.
        """
        stream = self._local.stream("Attend", agent_pb2.AttendResponse, metadata=_HEADER)
        await acknowledge(stream, log_id, revocation_seq)
        return stream

    async def why(self) -> agent_pb2.WhyResponse:
        """What the agent knows of this process."""
        return await self._local.unary(
            "Why", agent_pb2.WhyRequest(), agent_pb2.WhyResponse, timeout=_TIMEOUT, metadata=_HEADER
        )


async def acknowledge(stream: AioStream, log_id: bytes, revocation_seq: int) -> None:
    """Say on an `attend` stream what has been applied."""
    await stream.send(agent_pb2.AttendRequest(log_id=log_id, revocation_seq=revocation_seq))
