"""What our own library asks for beside the Workload API, on the same socket: to wait for an identity, to follow the
revocations and the sign of life of the CA, and to be told why there is no identity.

Nothing is queued for a library that reads slowly: each remembers a position, and is given the difference, or a
snapshot, when it is ready for more. It holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from inborn._internal.feed.log_parts import log_to_wire
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.wire.messages import revocation_to_wire
from inborn.errors import UnavailableError
from inborn_agent.api.explanation import explain
from inborn_agent.api.workload_service import no_identity_reason, unique_hints
from inborn_agent.cache.attendance import Attendance
from inborn_agent.cache.slots import View
from inborn_agent.live.attested_callers import AttestedCaller, Context, RelayedConnections, find_caller
from inborn_agent.live.live_cache import LiveCache, Subscription
from inborn_agent.live.losses import Losses
from inborn_proto import agent_pb2

__all__ = ["LocalService"]


class LocalService:
    """The servicer of `inborn.agent.v1.Local`. `acknowledged` is set whenever the attendance may report otherwise."""

    def __init__(
        self,
        live: LiveCache,
        connections: RelayedConnections,
        losses: Losses,
        attendance: Attendance,
        acknowledged: asyncio.Event,
    ) -> None:
        self._live = live
        self._connections = connections
        self._losses = losses
        self._attendance = attendance
        self._acknowledged = acknowledged

    async def Attend(
        self, requests: AsyncIterator[agent_pb2.AttendRequest], context: Context
    ) -> AsyncIterator[agent_pb2.AttendResponse]:
        caller = find_caller(self._connections, context)
        subscription = self._live.subscribe(await self._losses.attest(caller))
        self._live.follow_domain(subscription)
        reading = asyncio.create_task(self._read(requests, subscription))
        try:
            async for message in _Attendee(self._live, caller, subscription, self._losses, self._attendance).messages():
                yield message
        finally:
            reading.cancel()
            self._attendance.left(subscription.number)
            self._acknowledged.set()
            subscription.close()

    async def Why(self, request: agent_pb2.WhyRequest, context: Context) -> agent_pb2.WhyResponse:
        """One's own selectors to oneself; entries to nobody but root and the agent's user (`AgentAdmin`)."""
        caller = find_caller(self._connections, context)
        evidence = await caller.attest_again()
        return explain(caller.process, evidence, entries=None)

    async def _read(self, requests: AsyncIterator[agent_pb2.AttendRequest], subscription: Subscription) -> None:
        async for request in requests:
            self._attendance.acknowledged(subscription.number, request.log_id, request.revocation_seq)
            self._acknowledged.set()


class _Attendee:
    """What one library has been told."""

    def __init__(
        self,
        live: LiveCache,
        caller: AttestedCaller,
        subscription: Subscription,
        losses: Losses,
        attendance: Attendance,
    ) -> None:
        self._live = live
        self._losses = losses
        self._caller = caller
        self._subscription = subscription
        self._attendance = attendance
        self._identities: agent_pb2.Identities | None = None
        self._version = -1
        self._position = -1
        self._beats = -1
        self._follows = False

    async def messages(self) -> AsyncIterator[agent_pb2.AttendResponse]:
        """Everything that is to be said, as it comes up. Ends with an error alone."""
        while True:
            self._subscription.changed.clear()
            if self._live.is_stopping:
                raise UnavailableError("the agent is stopping")
            if self._version != self._subscription.version or self._identities is None:
                async for message in self._identity_messages():
                    yield message
            if self._follows:
                for message in self._domain_messages():
                    yield message
            await self._subscription.changed.wait()

    async def _identity_messages(self) -> AsyncIterator[agent_pb2.AttendResponse]:
        version = self._subscription.version
        self._subscription.attested(await self._losses.attest(self._caller))
        if self._subscription.version != version:
            self._subscription.changed.set()
        view = self._subscription.view()
        identities = self._current_identities(view)
        self._version = version
        if identities == self._identities:
            return
        if identities.identities and not self._follows:
            self._follows = True
            self._attendance.joined(
                self._subscription.number, f"pid {self._caller.process.pid} {identities.identities[0].spiffe_id}"
            )
        if self._follows:
            # Whoever has an identity knows what to refuse before it can talk to anybody; and whoever is given another
            # one in place of a revoked one has been told first that it is.
            for message in self._domain_messages():
                yield message
        if identities.identities:
            self._losses.gave(self._caller, view.held)
        yield agent_pb2.AttendResponse(identities=identities)
        self._identities = identities

    def _domain_messages(self) -> Iterator[agent_pb2.AttendResponse]:
        if self._position != self._live.cache.revocation_log.position:
            for revocations in self._revocations():
                yield agent_pb2.AttendResponse(revocations=revocations)
        if self._beats != self._live.beats and self._live.heard_at is not None:
            self._beats = self._live.beats
            age = max(0.0, time.monotonic() - self._live.heard_at)
            yield agent_pb2.AttendResponse(freshness=agent_pb2.Freshness(age_ms=int(age * 1000)))

    def _revocations(self) -> Iterator[agent_pb2.Revocations]:
        """The difference; or all logs, each as a snapshot in parts, the current one last.

        The agent goes on while the parts are sent: what comes meanwhile is the next difference, or another snapshot.
        """
        cache = self._live.cache
        difference = cache.revocation_log.since(self._position) if self._position >= 0 else None
        self._position = cache.revocation_log.position
        if difference is None:
            for messages in [log_to_wire(log) for log in cache.revocations.logs()]:
                yield from messages
            return
        yield agent_pb2.Revocations(
            log_id=cache.revocations.log_id,
            revocation_seq=cache.revocations.seq,
            revocations=[revocation_to_wire(revocation) for revocation in difference.revocations],
            dropped=difference.dropped,
        )

    def _current_identities(self, view: View[X509Svid]) -> agent_pb2.Identities:
        cache = self._live.cache
        if not cache.is_synced or cache.bundle is None:
            return agent_pb2.Identities(
                trust_domain=str(cache.trust_domain), reason="the agent has not heard from the CA yet", pending=True
            )
        if self._live.is_suspended():
            return agent_pb2.Identities(
                trust_domain=str(cache.trust_domain), reason="this agent's own certificate is revoked"
            )
        if not view.held:
            is_sure = bool(view.denial) or (view.entries == 0 and self._live.knows_entries)
            return agent_pb2.Identities(trust_domain=str(cache.trust_domain), reason=_reason(view), pending=not is_sure)
        return agent_pb2.Identities(
            identities=[
                agent_pb2.Identity(
                    spiffe_id=str(held.svid.spiffe_id), chain=held.svid.chain_der(), key=held.svid.key_der(), hint=hint
                )
                for held, hint in zip(view.held, unique_hints(view.held), strict=True)
            ],
            bundles={str(cache.trust_domain): cache.bundle.der()},
            crls=cache.crls,
            trust_domain=str(cache.trust_domain),
        )


def _reason(view: View[X509Svid]) -> str:
    if view.entries == 0 or view.denial:
        return no_identity_reason(view)
    if view.problem:
        return f"the CA cannot be asked: {view.problem}"
    return "the CA is being asked for a certificate, and has not answered yet"
