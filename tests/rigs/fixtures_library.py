"""A trust domain in memory, and an agent that says what a test tells it to, for tests of the library."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.rpc.services import service_handler
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.wire.messages import revocation_to_wire
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn.testing import MemoryAuthority
from inborn_proto import agent_pb2, workload
from tests.rigs.open_guard import refuse_nobody


@pytest.fixture
def authority() -> MemoryAuthority:
    return MemoryAuthority("example.org")


class SpokenAgent:
    """An agent's socket. What is said goes to whoever attends; what was said last is what a newcomer hears first."""

    def __init__(self, path: Path, authority: MemoryAuthority, *, is_spiffe_only: bool = False) -> None:
        self.path = path
        self.authority = authority
        self.acks: queue.SimpleQueue[agent_pb2.AttendRequest] = queue.SimpleQueue()
        self.arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._is_spiffe_only = is_spiffe_only
        self._lock = threading.Lock()
        self._streams: set[queue.SimpleQueue[Any]] = set()
        self._state: dict[str, Any] = {}
        self._server: grpc.Server | None = None

    def start(self) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(16))
        handlers = [service_handler(workload.SERVICE, _Spiffe(self), refuse_nobody)]
        if not self._is_spiffe_only:
            handlers.append(
                service_handler(agent_pb2.DESCRIPTOR.services_by_name["Local"], _Local(self), refuse_nobody)
            )
        server.add_generic_rpc_handlers(tuple(handlers))
        server.add_insecure_port(f"unix:{self.path}")
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            self.say("error", UnavailableError("the agent is stopping"))
            self._server.stop(0).wait()
            self._server = None
            self._state.pop("error", None)

    # -- what a test says --

    def identify(self, *svids: X509Svid, bundles: dict[TrustDomain, X509Bundle] | None = None) -> None:
        held = bundles or {self.authority.trust_domain: self.authority.bundle}
        identities = [
            agent_pb2.Identity(spiffe_id=str(s.spiffe_id), chain=s.chain_der(), key=s.key_der(), hint=s.hint)
            for s in svids
        ]
        message = agent_pb2.Identities(
            identities=identities,
            bundles={str(name): bundle.der() for name, bundle in held.items()},
            trust_domain=str(self.authority.trust_domain),
        )
        self.say("identities", agent_pb2.AttendResponse(identities=message))

    def withdraw(self, reason: str) -> None:
        message = agent_pb2.Identities(trust_domain=str(self.authority.trust_domain), reason=reason)
        self.say("identities", agent_pb2.AttendResponse(identities=message))

    def revocations(self, seq: int, rules: list[Revocation], *, snapshot: bool, log_id: bytes = b"") -> None:
        message = agent_pb2.Revocations(
            log_id=log_id or self.authority.log_id,
            revocation_seq=seq,
            snapshot=snapshot,
            revocations=[revocation_to_wire(rule) for rule in rules],
        )
        self.say("revocations", agent_pb2.AttendResponse(revocations=message), is_kept=snapshot)

    def freshness(self, age_ms: int) -> None:
        self.say("freshness", agent_pb2.AttendResponse(freshness=agent_pb2.Freshness(age_ms=age_ms)))

    def respond(self, response: workload.X509SVIDResponse) -> None:
        self.say("response", response)

    def deny(self, reason: str) -> None:
        self.say("error", DeniedError(reason))

    def say(self, kind: str, message: Any, *, is_kept: bool = True) -> None:
        with self._lock:
            if is_kept:
                self._state[kind] = message
            for stream in self._streams:
                stream.put(message)

    # -- how it is heard --

    def messages(self, kinds: tuple[str, ...], context: grpc.ServicerContext) -> Iterator[Any]:
        mine: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            for kind in ("error", *kinds):
                if kind in self._state:
                    mine.put(self._state[kind])
            self._streams.add(mine)
        context.add_callback(lambda: mine.put(None))
        try:
            while (message := mine.get()) is not None:
                if isinstance(message, InbornError):
                    raise message
                yield message
        finally:
            with self._lock:
                self._streams.discard(mine)


class _Local:
    def __init__(self, agent: SpokenAgent) -> None:
        self._agent = agent

    def Attend(self, requests: Iterator[agent_pb2.AttendRequest], context: Any) -> Iterator[agent_pb2.AttendResponse]:
        self._agent.arrived.put("Attend")

        def read() -> None:
            try:
                for request in requests:
                    self._agent.acks.put(request)
            except grpc.RpcError:
                pass  # the caller has gone

        threading.Thread(target=read, daemon=True).start()
        yield from self._agent.messages(("revocations", "identities", "freshness"), context)


class _Spiffe:
    def __init__(self, agent: SpokenAgent) -> None:
        self._agent = agent

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[workload.X509SVIDResponse]:
        self._agent.arrived.put("FetchX509SVID")
        assert dict(context.invocation_metadata()).get("workload.spiffe.io") == "true"
        yield from self._agent.messages(("response",), context)


@pytest.fixture
def agent(tmp_path: Path, authority: MemoryAuthority) -> Iterator[SpokenAgent]:
    spoken = SpokenAgent(tmp_path / "api.sock", authority)
    spoken.start()
    yield spoken
    spoken.stop()


@pytest.fixture
def spiffe_agent(tmp_path: Path, authority: MemoryAuthority) -> Iterator[SpokenAgent]:
    """An agent that is not Inborn's: it has the Workload API alone."""
    spoken = SpokenAgent(tmp_path / "api.sock", authority, is_spiffe_only=True)
    spoken.start()
    yield spoken
    spoken.stop()
