"""A whole Inborn as real processes in a directory of its own, and what tests do with it.

Nothing here sleeps to let something happen: waits are for events, and end with what was missing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.enrollment.join_token import parse_join_token
from inborn._internal.host.paths import admin_socket, agent_admin_socket, workload_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.source.snapshot import IdentitySource, Snapshot, SnapshotCallback, StaticSource
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid, load_certificate, serial_octets
from inborn._internal.tls.context import client_context, server_context
from inborn._internal.verification.verify import authorize_id
from inborn._internal.wire.admin_methods import METHODS
from inborn._internal.wire.messages import error_from_message
from inborn._internal.wire.methods import find_method
from inborn.errors import InbornError
from inborn_member.authority_client import AuthorityClient
from inborn_member.bootstrap import enroll
from inborn_member.enrolled import Enrolled, make_csr
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.request_numbers import RequestNumbers
from inborn_proto import admin_pb2, agent_pb2, ca_pb2
from tests.rigs.up_rig import UP_TIME, Running, environment

TRUST_DOMAIN = "example.org"
SELECTOR = f"unix:uid:{os.getuid()}"


@dataclass
class Machine:
    """One data directory: `start`, `kill` and `stop` supervisors on it, ask the CA, be a workload."""

    data_dir: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    verb: tuple[str, ...] = ("up",)
    running: Running | None = None
    agents: list[Running] = field(default_factory=list)

    # -- processes ---------------------------------------------------------------------------------------------------

    @property
    def supervisor(self) -> Running:
        assert self.running is not None, "not started"
        return self.running

    def start(self, *, is_awaited: bool = True) -> Running:
        """A supervisor; returns when all that it runs serves."""
        arguments = ["--trust-domain", TRUST_DOMAIN, "--min-ttl", "1s", *self.arguments]
        if self.verb == ("up",):
            arguments += ["--docker-socket", ""]
        self.running = self.spawn([*self.verb, "--data-dir", str(self.data_dir), *arguments], self.data_dir)
        if is_awaited:
            self.running.wait_for("inborn is up" if self.verb == ("up",) else "the CA is up", UP_TIME)
        return self.running

    def start_agent(self, ca_address: str, token: str, *, is_awaited: bool = True) -> Running:
        """`inborn agent run` on this data directory, which joins that CA; the token goes in by standard input."""
        return self.start_agent_with(ca_address, "--join-token-file", "-", stdin=token, is_awaited=is_awaited)

    def start_agent_with(
        self, ca_address: str, *arguments: str, stdin: str | None = None, is_awaited: bool = True
    ) -> Running:
        """The same, with whatever evidence the arguments say."""
        command = ["agent", "run", "--ca", ca_address, "--data-dir", str(self.data_dir)]
        command += ["--docker-socket", "", *arguments]
        agent = self.spawn(command, self.data_dir, stdin=stdin)
        self.agents.append(agent)
        if is_awaited:
            agent.wait_for("ready socket=", UP_TIME)
        return agent

    def spawn(self, arguments: list[str], data_dir: Path, *, stdin: str | None = None) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-m", "inborn_cli", *arguments],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | self.environment,
        )
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
        return Running(process, data_dir)

    def stop(self) -> None:
        """In order."""
        assert self.supervisor.end(signal.SIGTERM) == 0, self.supervisor.stderr

    def kill(self, name: str) -> None:
        """kill -9 of `signer`, `front`, `agent` or the `supervisor`, which is then started again."""
        if name == "supervisor":
            self.supervisor.end(signal.SIGKILL)
            self.start(is_awaited=False)
            return
        pids = self.supervisor.children()
        if name in pids:  # it may be on its way up
            os.kill(pids[name], signal.SIGKILL)

    def clean_up(self) -> None:
        for running in (*self.agents, *([self.running] if self.running is not None else [])):
            running.end(signal.SIGKILL)

    def wait_serving(self, seconds: float = 60.0) -> None:
        """Until signer, front and agent run, and the agent hears the CA."""
        deadline = time.monotonic() + seconds
        while not self.is_serving():
            assert time.monotonic() < deadline, (
                f"not all of it serves within {seconds:g} s: {self.supervisor.children()}\n"
                f"{self.supervisor.stderr[-6000:]}"
            )
            time.sleep(0.01)

    def is_serving(self) -> bool:
        if set(self.supervisor.children()) != {"signer", "front", "agent"}:
            return False
        try:
            return self.status().agents_connected >= 1 and self.agent_is_connected()
        except InbornError:
            return False

    def agent_is_connected(self) -> bool:
        """Whether our own agent has the CA's stream, and not only others."""
        return any(agent.name == "local" and agent.connected for agent in self.agents_listed())

    # -- the CA's admin ----------------------------------------------------------------------------------------------

    def ask(self, name: str, request: Any, timeout: float = 30.0) -> Any:
        """One call of the Admin service."""
        with AdminClient(admin_socket(self.data_dir)) as client:
            return client.call(METHODS[name], request, timeout)

    def status(self) -> admin_pb2.StatusResponse:
        answer: admin_pb2.StatusResponse = self.ask("GetStatus", admin_pb2.StatusRequest())
        return answer

    @property
    def bootstrap_address(self) -> str:
        return self.status().bootstrap_address

    def entry(self, path: str, **fields: Any) -> str:
        """Create an entry that this process matches; returns its ID."""
        wanted: dict[str, Any] = {"spiffe_id": spiffe_id(path), "selectors": [SELECTOR], "ttl_seconds": 60} | fields
        return str(self.ask("CreateEntry", admin_pb2.CreateEntryRequest(**wanted)).entry.id)

    def token(self, **fields: Any) -> str:
        return str(self.ask("CreateToken", admin_pb2.CreateTokenRequest(**fields)).token)

    def revoke(self, path: str, **fields: Any) -> admin_pb2.RevokeResponse:
        request = admin_pb2.RevokeRequest(spiffe_id=spiffe_id(path), **fields)
        answer: admin_pb2.RevokeResponse = self.ask("Revoke", request)
        return answer

    def wait_applied(self, seq: int) -> None:
        """Until every connected peer has applied the revocation, as `inborn revoke --wait` does."""
        answer = self.ask("GetPropagation", admin_pb2.PropagationRequest(revocation_seq=seq, wait_ms=20_000))
        assert answer.peers == answer.applied, answer.laggards

    def ledger(self) -> dict[str, admin_pb2.Certificate]:
        """Every row, expired ones as well, by serial in hex."""
        rows: dict[str, admin_pb2.Certificate] = {}
        after = ""
        while True:
            request = admin_pb2.ListCertificatesRequest(history=True, limit=1000, after_serial=after)
            page = self.ask("ListCertificates", request, timeout=60)
            rows |= {row.serial: row for row in page.certificates}
            if not page.more:
                return rows
            after = page.certificates[-1].serial

    def agents_listed(self) -> list[admin_pb2.Agent]:
        return list(self.ask("ListAgents", admin_pb2.ListAgentsRequest()).agents)

    # -- a workload --------------------------------------------------------------------------------------------------

    def source(self, timeout: float = 30.0) -> X509Source:
        """This process's identities, through the library."""
        return X509Source(workload_socket(self.data_dir), timeout=timeout)

    def agent_status(self) -> agent_pb2.AgentStatus:
        """What the agent says of itself, on its own socket."""
        with grpc.insecure_channel(f"unix:{agent_admin_socket(self.data_dir)}") as channel:
            call = channel.unary_unary(
                "/inborn.agent.v1.AgentAdmin/GetStatus",
                agent_pb2.AgentStatusRequest.SerializeToString,
                agent_pb2.AgentStatus.FromString,
            )
            return call(agent_pb2.AgentStatusRequest(), timeout=20, wait_for_ready=True)


def spiffe_id(path: str) -> str:
    return f"spiffe://{TRUST_DOMAIN}{path}"


@contextmanager
def serving(directory: Path) -> Iterator[Machine]:
    """`inborn up`, serving; whatever runs is killed at the end."""
    machine = Machine(directory)
    try:
        machine.start()
        yield machine
    finally:
        machine.clean_up()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with serving(tmp_path / "d") as machine:
        yield machine


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Makes machines that are not started yet."""
    made: list[Machine] = []

    def make(name: str = "d", *arguments: str, **fields: Any) -> Machine:
        machine = Machine(tmp_path / name, arguments, **fields)
        made.append(machine)
        return machine

    yield make
    for machine in made:
        machine.clean_up()


class Only:
    """A source that shows one of the identities of another one: two daemons in one process."""

    def __init__(self, source: X509Source, path: str) -> None:
        self._source = source
        self._path = path

    def _of(self, snapshot: Snapshot) -> Snapshot:
        mine = tuple(svid for svid in snapshot.svids if svid.spiffe_id.path == self._path)
        return dataclasses.replace(snapshot, svids=mine)

    def snapshot(self) -> Snapshot:
        return self._of(self._source.snapshot())

    def subscribe(self, callback: SnapshotCallback) -> Callable[[], None]:
        return self._source.subscribe(lambda snapshot: callback(self._of(snapshot)))

    @property
    def svid(self) -> X509Svid:
        return self.snapshot().svid(dt.datetime.now(dt.UTC))


def wait_for_snapshot(
    source: IdentitySource, condition: Callable[[Snapshot], bool], what: str, seconds: float = 30.0
) -> None:
    """Until the source shows what is wanted."""
    arrived = threading.Event()
    unsubscribe = source.subscribe(lambda snapshot: arrived.set())
    deadline = time.monotonic() + seconds
    try:
        while not condition(source.snapshot()):
            assert arrived.wait(max(0.0, deadline - time.monotonic())), f"not within {seconds:g} s: {what}"
            arrived.clear()
    finally:
        unsubscribe()


def wait_for_paths(source: X509Source, *paths: str) -> None:
    """Until this process has these identities and no others."""
    wait_for_snapshot(source, lambda s: {svid.spiffe_id.path for svid in s.svids} == set(paths), f"identities {paths}")


# -- an agent's part without an agent ----------------------------------------------------------------------------------


@dataclass
class Requester:
    """An enrolled agent or daemon that says to the API port whatever a test wants."""

    enrolled: Enrolled
    client: AuthorityClient

    @classmethod
    async def enroll(cls, token: str, address: str) -> Requester:
        key = ec.generate_private_key(ec.SECP256R1())
        enrolled = await enroll(TokenEvidence(parse_join_token(token)), address, key)
        source = StaticSource(
            Snapshot(
                trust_domain=enrolled.svid.spiffe_id.trust_domain,
                svids=(enrolled.svid,),
                bundles={enrolled.bundle.trust_domain: enrolled.bundle},
            )
        )
        numbers = RequestNumbers(0, lambda number: None)
        return cls(enrolled, AuthorityClient(source, enrolled.api_address, log_id=enrolled.log_id, numbers=numbers))

    async def issue(self, *entry_ids: str, timeout: float = 10.0) -> list[bytes | InbornError]:
        """One new key and certificate for each entry: DER, or the item's error."""
        items = [
            ca_pb2.IssueItem(
                entry_id=entry_id, csr=make_csr(ec.generate_private_key(ec.SECP256R1())), selectors=[SELECTOR]
            )
            for entry_id in entry_ids
        ]
        response = await self.client.issue(ca_pb2.IssueRequest(items=items), timeout=timeout)
        return [
            error_from_message(result.error) if result.HasField("error") else result.leaf for result in response.results
        ]


def serial_hex(der: bytes) -> str:
    """As the ledger's rows name it."""
    return serial_octets(load_certificate(der).serial_number).hex()


async def admin_call(machine: Machine, name: str, **fields: Any) -> Any:
    """`Machine.ask` beside a running loop."""
    return await asyncio.to_thread(machine.ask, name, find_method(f"/inborn.admin.v1.Admin/{name}").request(**fields))


# -- traffic -----------------------------------------------------------------------------------------------------------


@dataclass
class Echo:
    """A mutual-TLS server that says back what it hears, and how to talk to it."""

    port: int
    client: ssl.SSLContext
    presented: set[int] = field(default_factory=set)
    """Serials that the server has shown."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client, server_hostname="")

    async def request(self) -> None:
        """A connection of its own: handshake, one line there and back."""
        reader, writer = await self.connect()
        try:
            await say(reader, writer)
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.presented.add(load_certificate(der).serial_number)
        finally:
            writer.close()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One line there and back. Raises where the connection is refused or has been ended."""
    writer.write(b"hello\n")
    await writer.drain()
    answer = await asyncio.wait_for(reader.readline(), 20)
    if answer != b"hello\n":
        raise ConnectionResetError("connection was ended")


@asynccontextmanager
async def echo(
    server: IdentitySource, client: IdentitySource, *, server_path: str, client_path: str
) -> AsyncIterator[Echo]:
    """A server with one identity that lets in one client, and a client's context that knows that server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    context = server_context(server, authorize_id(parse_spiffe_id(spiffe_id(client_path))))
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield Echo(port, client_context(client, authorize_id(parse_spiffe_id(spiffe_id(server_path)))))
