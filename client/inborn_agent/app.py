"""The agent as a whole: what is made of what, in which order it starts, and in which order it ends."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

from inborn._internal.host.directory_lock import DirectoryLock
from inborn._internal.host.files import make_directory, private_directory
from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.rpc.services import service_handler
from inborn._internal.spiffe.rotation import RETRY_FIRST
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn.errors import UnavailableError
from inborn_agent.api.admin_service import AgentAdminService
from inborn_agent.api.local_access import local_guard, on_admin_socket, on_workload_socket
from inborn_agent.api.local_service import LocalService
from inborn_agent.api.workload_service import WorkloadService
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.ca.agent_identity import agent_identity
from inborn_agent.ca.issuer import Issuer
from inborn_agent.ca.joining import AdminJoiner, CertificateJoiner, NoJoiner, TokenFileJoiner
from inborn_agent.ca.sync import Saver, Sync
from inborn_agent.cache.attendance import Attendance
from inborn_agent.cache.cache import Cache
from inborn_agent.counted_events import COUNTED_EVENTS
from inborn_agent.disk.kept_state import KeptState
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.live.live_cache import LiveCache
from inborn_agent.live.losses import Losses
from inborn_agent.relay.relay import Relay
from inborn_agent.settings import AgentSettings, keys_directory
from inborn_member.evidence_way_in import EvidenceSupply
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.own_identity import OwnIdentity
from inborn_proto import agent_pb2, ca_pb2, workload

if TYPE_CHECKING:
    from inborn._internal.metrics.metrics_port import MetricsPort

__all__ = ["Agent", "run"]

_log = get_logger("agent")

_SERVER_OPTIONS: list[tuple[str, Any]] = [
    # gRPC answers what exceeds these with a bare CANCELLED; the relay limits connections, and that is enough.
    ("grpc.max_pending_requests", 100_000),
    ("grpc.max_pending_requests_hard_limit", 100_000),
    ("grpc.max_concurrent_streams", 100),  # of one connection: a client has a handful
    ("grpc.max_receive_message_length", 64 * 1024),  # bytes: requests here are empty or a few numbers
    ("grpc.so_reuseport", 0),
]

_ISSUE_TIMEOUT = 10.0  # seconds for a batch: the signer takes 50 ms for 500, and may have others before it
_GRACE = 1.0  # seconds for open streams to be told that the agent ends
_READY_PATIENCE = 5.0  # seconds that "ready" waits for the first word of the CA
_LONGEST_INNER_PATH = 90  # bytes, of the kernel's 107: the relay adds names


class Agent:
    """Started once. What it raises on the way says why it cannot run."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._metrics_port: MetricsPort | None = None
        if settings.metrics_address is not None:
            # prometheus_client and an HTTP server are loaded where somebody looks, and nothing is counted elsewhere.
            from inborn._internal.metrics.metrics_port import MetricsPort

            self._metrics_port = MetricsPort(COUNTED_EVENTS)
        self._metrics = self._metrics_port.metrics if self._metrics_port is not None else Metrics()
        self._temporary: str | None = None

    def stop(self) -> None:
        """End in order."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises `InbornError` when it cannot start, or when a first enrollment is refused."""
        settings = self._settings
        make_directory(settings.data_dir, mode=0o711)
        directory = private_directory(settings.agent_dir)
        lock = DirectoryLock(directory)
        try:
            await self._run_locked(directory)
        finally:
            lock.release()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    async def _run_locked(self, directory: Path) -> None:
        settings = self._settings
        store = IdentityStore(directory)
        record = store.load()
        joiner = self._joiner()
        trust_domain = await self._find_trust_domain(record, joiner)
        if trust_domain is None:
            return
        cache = Cache(trust_domain=trust_domain, spread=random.random)
        live = LiveCache(cache, SvidStore(keys_directory(settings.runtime_dir)))
        state = KeptState(directory)
        state.load(cache, live.now())
        restored = live.restore()
        own = agent_identity(
            trust_domain,
            store,
            joiner,
            self._metrics,
            revocations=cache.revocations,
            record=record,
            ca=self._settings.ca,
        )
        live.is_suspended, own.on_standing = lambda: own.is_revoked, live.tell_everybody
        if cache.bundle is not None:
            own.trust(cache.bundle, cache.domain_mark[0])
        _log.event(
            "agent.starting",
            trust_domain=trust_domain,
            spiffe_id=record.svid.spiffe_id if record is not None else "",
            entries=len(cache.entries),
            svids=restored,
        )
        attendance, acknowledged = Attendance(), asyncio.Event()
        attendance.published(cache.revocations.log_id, cache.revocations.seq, live.now())
        saver = Saver(live, state, acknowledged)
        sync = Sync(live, own, saver, attendance, acknowledged, self._metrics)
        issuer = Issuer(live, self._ask(own), self._metrics, on_refused=own.refused)
        await self._serve(live, own, sync, attendance, acknowledged, [own.run, sync.run, saver.run, issuer.run])
        if cache.is_synced:
            await asyncio.to_thread(state.save_domain, state.domain_bytes(cache))
            await asyncio.to_thread(state.save_node, state.node_bytes(cache))

    async def _serve(
        self,
        live: LiveCache,
        own: OwnIdentity,
        sync: Sync,
        attendance: Attendance,
        acknowledged: asyncio.Event,
        parts: list[Any],
    ) -> None:
        settings = self._settings
        attestor = WorkloadAttestors(engines=settings.engines(), proc=settings.proc)
        losses = Losses(live, own.client, attestor.attest)
        inner = self._inner_directory()
        workload_server, admin_server = (
            grpc.aio.server(options=_SERVER_OPTIONS),
            grpc.aio.server(options=_SERVER_OPTIONS),
        )
        workload_relay = self._relay(settings.socket, inner / "w", attestor, workload_server)
        admin_relay = self._relay(settings.admin_socket, inner / "a", attestor, admin_server)
        local = agent_pb2.DESCRIPTOR.services_by_name["Local"]
        admin = agent_pb2.DESCRIPTOR.services_by_name["AgentAdmin"]
        workload_api = WorkloadService(live, workload_relay, losses, self._metrics)
        local_api = LocalService(live, workload_relay, losses, attendance, acknowledged)
        workload_guard = local_guard(workload_relay, on_workload_socket)
        workload_server.add_generic_rpc_handlers(
            (
                service_handler(workload.SERVICE, workload_api, workload_guard),
                service_handler(local, local_api, workload_guard),
            )
        )
        admin_api = AgentAdminService(
            live,
            own,
            sync,
            attestor,
            count_connections=lambda: len(workload_relay.connections),
            pinned_by=workload_relay.mode.value,
            ca_address=settings.ca,
            proc=settings.proc,
        )
        admin_guard = local_guard(admin_relay, on_admin_socket)
        admin_server.add_generic_rpc_handlers((service_handler(admin, admin_api, admin_guard),))
        if self._metrics_port is not None and settings.metrics_address is not None:
            read_gauges = _gauges_of(live, own, sync, workload_relay)
            address = await self._metrics_port.open(settings.metrics_address, read_gauges)
            _log.event("metrics.listening", address=address)
        _open_way_to(settings.socket, settings.data_dir)
        started: list[Relay] = []
        try:
            for server, relay in ((workload_server, workload_relay), (admin_server, admin_relay)):
                await server.start()
                await relay.start()
                started.append(relay)
            tasks = [asyncio.create_task(part()) for part in (*parts, live.run, losses.run)]
            tasks.append(asyncio.create_task(self._say_ready(live)))
            try:
                await self._until_over(tasks)
            finally:
                live.stop()
                await asyncio.gather(workload_server.stop(_GRACE), admin_server.stop(_GRACE))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            # A server that is left to the garbage collector complains of the loop that has ended.
            await asyncio.gather(workload_server.stop(0), admin_server.stop(0))
            for relay in started:
                await relay.close()
            await own.close()
            if self._metrics_port is not None:
                await self._metrics_port.close()
            attestor.close()
        _log.event("agent.stopped")

    async def _until_over(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Until `stop`, or until a part ends with an error. Raises that error."""
        stopping = asyncio.create_task(self._stop.wait())
        waiting = {stopping, *tasks}
        try:
            while not stopping.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopping.cancel()

    async def _say_ready(self, live: LiveCache) -> None:
        """Once there is something to serve, or when the CA lets us wait for its first word too long."""
        deadline = time.monotonic() + _READY_PATIENCE
        while not live.cache.is_synced and time.monotonic() < deadline:
            live.node_applied.clear()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await live.node_applied.wait()
            except TimeoutError:
                break
        print(f"ready socket={self._settings.socket}", file=sys.stderr, flush=True)
        if self._settings.ready_fd is not None:
            try:
                os.write(self._settings.ready_fd, b"ready\n")
                os.close(self._settings.ready_fd)
            except OSError as error:
                _log.warning("ready.not_said", fd=self._settings.ready_fd, reason=error.strerror)

    def _joiner(self) -> EvidenceSupply:
        settings = self._settings
        if settings.join_admin_socket is not None:
            return AdminJoiner(settings.join_admin_socket, settings.ca)
        if settings.join_token_file:
            return TokenFileJoiner(settings.join_token_file, settings.ca)
        if settings.x509pop is not None:
            return CertificateJoiner(settings.x509pop, settings.ca)
        return NoJoiner()

    async def _find_trust_domain(self, record: IdentityRecord | None, joiner: EvidenceSupply) -> TrustDomain | None:
        """Our own, or that of the evidence. Waits for a CA on this host to be there; None: told to stop meanwhile."""
        if record is not None:
            return record.trust_domain
        while True:
            try:
                evidence, _ = await joiner.evidence(None)
                return evidence.trust_domain
            except UnavailableError as error:
                if not isinstance(joiner, AdminJoiner):
                    raise
                _log.warning("ca.not_there", reason=error.message)
            try:
                async with asyncio.timeout(RETRY_FIRST.total_seconds() * 2):
                    await self._stop.wait()
                return None
            except TimeoutError:
                pass

    def _ask(self, own: OwnIdentity) -> Any:
        async def ask(request: ca_pb2.IssueRequest) -> ca_pb2.IssueResponse:
            client = await own.client()
            return await client.issue(request, timeout=_ISSUE_TIMEOUT)

        return ask

    def _relay(self, path: Path, inner: Path, attestor: WorkloadAttestors, server: grpc.aio.Server) -> Relay:
        address = private_directory(inner) / "s"
        address.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{address}")
        return Relay(str(path), str(address), attestor, proc=self._settings.proc)

    def _inner_directory(self) -> Path:
        """Where the gRPC servers listen, behind the relays: closed to others, and short enough for the kernel."""
        directory = self._settings.runtime_dir
        if len(os.fsencode(directory)) <= _LONGEST_INNER_PATH:
            return private_directory(directory)
        self._temporary = tempfile.mkdtemp(prefix="inborn-agent-")
        return Path(self._temporary)


def _gauges_of(
    live: LiveCache, own: OwnIdentity, sync: Sync, relay: Relay
) -> Callable[[], Awaitable[dict[str, tuple[str, float]]]]:
    """What reads the agent's gauges: name -> (help, value)."""
    cache = live.cache

    async def read() -> dict[str, tuple[str, float]]:
        heard = time.monotonic() - live.heard_at if live.heard_at is not None else -1.0
        left = (own.svid.facts.not_after - live.now()).total_seconds() if own.svid is not None else -1.0
        return {
            "inborn_agent_entries": ("entries of this node", len(cache.entries)),
            "inborn_agent_cached_svids": ("SVIDs held for workloads", cache.held_count),
            "inborn_agent_connections": ("connections of workloads", len(relay.connections)),
            "inborn_agent_revocation_seq": ("length of the revocation log", cache.revocations.seq),
            "inborn_agent_connected": ("whether the CA's stream is open", sync.is_connected),
            "inborn_agent_heard_seconds": ("time since the CA was last heard; -1: not yet", heard),
            "inborn_agent_svid_expires_seconds": (
                "remaining life of the agent's own certificate; negative: it has expired or there is none",
                left,
            ),
        }

    return read


def _open_way_to(socket: Path, data_dir: Path) -> None:
    """Everybody may reach the Workload API's socket, and nobody else may put anything beside it.

    Our own data directory is opened for passing through, where the socket lies below it; what is in it stays closed.
    Other directories are the admin's, who is told.
    """
    try:
        make_directory(socket.parent, mode=0o755)
        for directory in socket.parents:
            found = directory.stat()
            if found.st_mode & stat.S_IXOTH:
                continue
            if directory == data_dir and found.st_uid == os.geteuid():
                directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP | stat.S_IXOTH)
            else:
                _log.warning("socket.out_of_reach", socket=socket, directory=directory, reason="closed to other users")
    except OSError as error:
        raise UnavailableError(f"cannot make the way to {socket}: {error.strerror}") from error


def run(settings: AgentSettings) -> None:
    """Run an agent in this process until SIGTERM or SIGINT. Raises `InbornError`."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(settings))


async def _main(settings: AgentSettings) -> None:
    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()


def _loop_factory() -> Any:
    """uvloop where it is installed: an eighth less CPU for each call."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
