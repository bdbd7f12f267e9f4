"""The agent's own socket: why a process has no identity, and how the agent is. For root and the agent's user alone.

The socket lies in a directory that only they can enter, and `local_access` asks the kernel who is calling besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from inborn._internal.process.pinning import pin_pid
from inborn._internal.wire.messages import ms_from_datetime
from inborn_agent.api.explanation import explain
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.ca.sync import Sync
from inborn_agent.live.attested_callers import Context
from inborn_agent.live.live_cache import LiveCache
from inborn_member.own_identity import OwnIdentity
from inborn_proto import agent_pb2

__all__ = ["AgentAdminService"]


class AgentAdminService:
    """The servicer of `inborn.agent.v1.AgentAdmin`."""

    def __init__(
        self,
        live: LiveCache,
        own: OwnIdentity,
        sync: Sync,
        attestor: WorkloadAttestors,
        *,
        count_connections: Callable[[], int],
        pinned_by: str,
        ca_address: str,
        proc: str = "/proc",
    ) -> None:
        self._live = live
        self._own = own
        self._sync = sync
        self._attestor = attestor
        self._count_connections = count_connections
        self._pinned_by = pinned_by
        self._ca_address = ca_address
        self._proc = proc
        self._started = live.now()

    async def WhyProcess(self, request: agent_pb2.WhyProcessRequest, context: Context) -> agent_pb2.WhyResponse:
        """What the process with that number is, and which entries match or are near.

        The number counts in the agent's own PID namespace: an agent that does not share the host's cannot be asked
        about a process outside by its number.
        """
        with pin_pid(request.pid, proc=self._proc) as process:
            evidence = await self._attestor.attest(process)
            return explain(process, evidence, entries=self._live.cache.entries)

    async def GetStatus(self, request: agent_pb2.AgentStatusRequest, context: Context) -> agent_pb2.AgentStatus:
        cache, svid = self._live.cache, self._own.svid
        heard_at = self._live.heard_at
        return agent_pb2.AgentStatus(
            spiffe_id=str(svid.spiffe_id) if svid is not None else "",
            svid_expires_ms=ms_from_datetime(svid.facts.not_after) if svid is not None else 0,
            connected=self._sync.is_connected,
            last_heard_ms=int(max(0.0, time.monotonic() - heard_at) * 1000) if heard_at is not None else 0,
            revocation_seq=cache.revocations.seq,
            entries=len(cache.entries),
            cached_svids=cache.held_count,
            connections=self._count_connections(),
            pinned_by=self._pinned_by,
            started_ms=ms_from_datetime(self._started),
            ca_address=self._ca_address,
            alarms=[*self._own.complaints(), *(str(alarm) for alarm in self._sync.alarms.current(self._live.now()))],
        )
