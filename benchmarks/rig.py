"""The real program for the benchmarks: `inborn up` in a directory of its own, and agents that put load on it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.machine import tree
from benchmarks.requests import ISSUE, Holder
from inborn._internal.enrollment.join_token import parse_join_token
from inborn._internal.host.paths import admin_socket, workload_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.spiffe.x509_svid import read_certificate
from inborn._internal.wire.admin_methods import METHODS
from inborn_member.bootstrap import enroll
from inborn_member.enrolled import Enrolled
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_proto import admin_pb2, ca_pb2, signed_pb2

__all__ = ["LoadAgent", "Rig", "front_alias", "issue_call", "issue_stream", "running", "warm"]

TRUST_DOMAIN = "bench.example"


@dataclass(slots=True)
class Rig:
    """A running program."""

    directory: Path
    command: list[str]
    process: subprocess.Popen[bytes] = field(init=False)
    admin: AdminClient = field(init=False)

    @property
    def pids(self) -> list[int]:
        """All of its processes, the supervisor included."""
        return tree(self.process.pid)

    @property
    def parts(self) -> dict[str, int]:
        """The front's and the signer's process."""
        found = {}
        for pid in self.pids:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            for part in ("front", "signer"):
                if f"inborn_ca.{part}".encode() in command:
                    found[part] = pid
        return found

    @property
    def socket(self) -> str:
        return f"unix://{workload_socket(self.directory)}"

    def restart(self) -> None:
        """Kill all of it, and start it again where it was. Returns when it serves."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(20)
        self.start()

    def start(self) -> None:
        """Returns when it serves."""
        log = Path(self.directory, "log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=output, env=os.environ | OURSELVES
            )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():  # the socket, once everything serves
            raise RuntimeError(log.read_text())
        self.admin = AdminClient(admin_socket(self.directory))

    def call(self, name: str, request: Any) -> Any:
        return self.admin.call(METHODS[name], request)

    def create_entry(self, path: str, **fields: Any) -> str:
        wanted: dict[str, Any] = {"selectors": [f"unix:uid:{os.geteuid()}"], "node": "any", "ttl_seconds": 3600}
        request = admin_pb2.CreateEntryRequest(spiffe_id=f"spiffe://{TRUST_DOMAIN}{path}", **wanted | fields)
        return str(self.call("CreateEntry", request).entry.id)

    async def agents(self, count: int) -> list[LoadAgent]:
        """Enroll agents that only make load."""
        made = self.call("CreateToken", admin_pb2.CreateTokenRequest(uses=count))
        evidence = TokenEvidence(parse_join_token(made.token))
        agents = []
        for _ in range(count):
            key = ec.generate_private_key(ec.SECP256R1())
            agents.append(LoadAgent(key=key, enrolled=await enroll(evidence, made.bootstrap_address, key)))
        return agents


@dataclass(slots=True)
class LoadAgent:
    """One agent's credentials and a stock gRPC channel, so that the load costs as little as it can."""

    key: ec.EllipticCurvePrivateKey
    enrolled: Enrolled
    holder: Holder = field(init=False)

    def __post_init__(self) -> None:
        self.holder = Holder(
            key=self.key,
            trust_domain=TRUST_DOMAIN,
            log_id=self.enrolled.log_id,
            serial=read_certificate(self.enrolled.svid.leaf).serial,
        )

    def request(self, entry_id: str, items: int) -> signed_pb2.SignedRequest:
        """A signed request for so many certificates, each with a new key."""
        selectors = (f"unix:uid:{os.geteuid()}", "unix:gid:0", "unix:path:/usr/bin/load")
        return self.holder.request(entry_id, selectors, items)

    def channel(self, front_alias: str) -> grpc.aio.Channel:
        """A connection of its own to the API port; the front is pinned by its DNS alias."""
        pem = self.enrolled.svid.chain_pem()
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        credentials = grpc.ssl_channel_credentials(self.enrolled.bundle.pem(), key, pem)
        options = [("grpc.ssl_target_name_override", front_alias), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.enrolled.api_address, credentials, options)


def issue_call(channel: grpc.aio.Channel) -> Any:
    """`Authority.Issue` on a channel."""
    return channel.unary_unary(
        ISSUE,
        request_serializer=signed_pb2.SignedRequest.SerializeToString,
        response_deserializer=ca_pb2.IssueResponse.FromString,
    )


def issue_stream(channel: grpc.aio.Channel) -> Any:
    """`Authority.IssueStream` on a channel, as agents keep it open."""
    return channel.stream_stream(
        ISSUE + "Stream",
        request_serializer=signed_pb2.SignedRequest.SerializeToString,
        response_deserializer=ca_pb2.IssueResponse.FromString,
    )()


# As root, a CA runs its parts as users of certain names where the machine has them; they could not enter the directory.
OURSELVES = {"INBORN_SIGNER_USER": "root", "INBORN_FRONT_USER": "root"} if os.geteuid() == 0 else {}


@contextmanager
def running(*options: str) -> Iterator[Rig]:
    """`inborn up` in a temporary directory, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="inborn-bench-") as directory:
        command = [sys.executable, "-m", "inborn_cli", "up", "--data-dir", directory, "--trust-domain", TRUST_DOMAIN]
        rig = Rig(directory=Path(directory), command=[*command, *options])
        try:
            rig.start()
            yield rig
        finally:
            rig.process.send_signal(signal.SIGTERM)
            rig.process.wait(20)


def front_alias(rig: Rig) -> str:
    """The DNS alias of the front's identity."""
    from inborn._internal.spiffe.spiffe_id import parse_spiffe_id

    rows = rig.call("ListCertificates", admin_pb2.ListCertificatesRequest()).certificates
    return parse_spiffe_id(next(row.spiffe_id for row in rows if row.kind == "front")).alias


async def warm(call: Any, request: signed_pb2.SignedRequest) -> None:
    """One call that is not counted."""
    await asyncio.wait_for(call(request), 30)
