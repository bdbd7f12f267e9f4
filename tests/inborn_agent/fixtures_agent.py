"""A CA and agents as processes of their own, and this process as their workload."""

from __future__ import annotations

import datetime as dt
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from inborn._internal.host import paths
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.rpc.services import AioStub
from inborn._internal.wire.admin_methods import METHODS
from inborn_agent.settings import keys_directory, private_runtime_directory
from inborn_ca.settings import CaSettings
from inborn_proto import admin_pb2, agent_pb2, workload
from tests.rigs.settings_rig import started_with

M = TypeVar("M", bound=Message)

HEADER = (("workload.spiffe.io", "true"),)
PATIENCE = 20.0  # seconds: long enough for a busy machine
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("INBORN_")},
    "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("proto", "client", "ca")),
}


@dataclass
class Process:
    """A program of ours that says when it is ready."""

    popen: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """At once, as a crash would."""
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def terminate(self) -> int:
        """In order; gives the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Rig:
    """`directory` is short, because the paths of sockets are."""

    directory: Path
    processes: list[Process] = field(default_factory=list)
    data_dirs: set[Path] = field(default_factory=set)

    @classmethod
    def make(cls) -> Rig:
        return cls(Path(tempfile.mkdtemp(prefix="ia")))

    @property
    def data_dir(self) -> Path:
        return self.directory / "d"

    @property
    def socket(self) -> Path:
        return paths.workload_socket(self.data_dir)

    # Processes.

    def start_ca(self) -> Process:
        settings = CaSettings(data_dir=self.data_dir, trust_domain="example.org", min_ttl=dt.timedelta(seconds=1))
        log = self.directory / f"log{len(self.processes)}"
        with open(log, "wb") as output:
            process = Process(started_with("inborn_ca.supervisor", settings, stdout=output, stderr=output), log)
        self.processes.append(process)
        self._until(lambda: self._admin_answers(), process, "the CA is up")
        return process

    def start_agent(self, *options: str, data_dir: Path | None = None) -> Process:
        """An agent that gets its token over the CA's admin socket, unless `options` say otherwise."""
        if not any(option.startswith("--join") for option in options):
            options = (*options, "--join-admin-socket", str(paths.admin_socket(self.data_dir)))
        read, write = os.pipe()
        try:
            directory = data_dir or self.data_dir
            self.data_dirs.add(directory)
            arguments = ["-m", "inborn_cli", "agent", "run", "--data-dir", str(directory), *options]
            process = self._spawn([*arguments, "--ready-fd", str(write)], pass_fds=(write,))
        finally:
            os.close(write)
        try:
            ready, _, _ = select.select([read], [], [], PATIENCE)
            if not ready or os.read(read, 100) != b"ready\n":
                raise AssertionError(f"agent did not get ready: {process.text()}")
        finally:
            os.close(read)
        return process

    def run_agent(self, *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """An agent that is expected to give up by itself."""
        return subprocess.run(
            [sys.executable, "-m", "inborn_cli", "agent", "run", "--data-dir", str(self.data_dir), *options],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=ENVIRONMENT,
            check=False,
        )

    def _spawn(self, arguments: list[str], *, pass_fds: tuple[int, ...] = ()) -> Process:
        log = self.directory / f"log{len(self.processes)}"
        with open(log, "wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                pass_fds=pass_fds,
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def _until(self, condition: Callable[[], bool], process: Process, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline or process.popen.poll() is not None:
                raise AssertionError(f"not in time: {what}\n{process.text()}")
            time.sleep(0.02)

    def _admin_answers(self) -> bool:
        try:
            return bool(self.admin("GetStatus", admin_pb2.StatusRequest(), admin_pb2.StatusResponse).api_address)
        except Exception:
            return False

    # The admin.

    def admin(self, name: str, request: Message, response: type[M]) -> M:
        with AdminClient(paths.admin_socket(self.data_dir)) as client:
            answer = client.call(METHODS[name], request)
        assert isinstance(answer, response)
        return answer

    def create_entry(self, path: str = "/web", *selectors: str, ttl: int = 3600, hint: str = "") -> str:
        request = admin_pb2.CreateEntryRequest(
            spiffe_id=f"spiffe://example.org{path}",
            selectors=selectors or (f"unix:uid:{os.geteuid()}",),
            ttl_seconds=ttl,
            hint=hint,
        )
        return self.admin("CreateEntry", request, admin_pb2.EntryResponse).entry.id

    def revoke(self, path: str = "/web", *, reissue: bool = False) -> int:
        request = admin_pb2.RevokeRequest(spiffe_id=f"spiffe://example.org{path}", reissue=reissue)
        return self.admin("Revoke", request, admin_pb2.RevokeResponse).revocation_seq

    def unblock(self, path: str = "/web") -> None:
        request = admin_pb2.UnblockRequest(target=f"id:spiffe://example.org{path}")
        self.admin("Unblock", request, admin_pb2.UnblockResponse)

    def propagation(self, seq: int, wait_ms: int = 10_000) -> admin_pb2.PropagationResponse:
        request = admin_pb2.PropagationRequest(revocation_seq=seq, wait_ms=wait_ms)
        return self.admin("GetPropagation", request, admin_pb2.PropagationResponse)

    # The workload.

    @asynccontextmanager
    async def channel(self, socket: Path | None = None) -> AsyncIterator[grpc.aio.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{socket or self.socket}", options=options) as channel:
            yield channel

    def fetch(self, channel: grpc.aio.Channel, metadata: Any = HEADER) -> Any:
        """The raw stream of FetchX509SVID."""
        call = channel.unary_stream(
            "/SpiffeWorkloadAPI/FetchX509SVID",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=workload.X509SVIDResponse.FromString,
        )
        return call(workload.X509SVIDRequest(), metadata=metadata, timeout=PATIENCE)

    async def fetch_once(self) -> workload.X509SVIDResponse:
        async with self.channel() as channel:
            message: workload.X509SVIDResponse = await self.fetch(channel).read()
            return message

    def local(self, channel: grpc.aio.Channel, service: str = "Local") -> AioStub:
        return AioStub(channel, agent_pb2.DESCRIPTOR.services_by_name[service])

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.kill()
        for data_dir in self.data_dirs:
            shutil.rmtree(keys_directory(private_runtime_directory(data_dir, {})), ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig.make()
    try:
        yield made
    finally:
        made.close()
