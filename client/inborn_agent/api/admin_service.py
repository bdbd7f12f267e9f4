"""The agent's own socket: why a process has no identity, and how the agent is. For root and the agent's user alone.

The socket lies in a directory that only they can enter, and the kernel is asked who is calling besides. Root is uid 0
in the agent's own user and PID namespaces: a container's root is somebody else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from inborn._internal.process.pinning import PinnedProcess, pin_pid
from inborn._internal.wire.messages import ms_from_datetime
from inborn.errors import DeniedError
from inborn_agent.api.explanation import explain
from inborn_agent.attest import WorkloadAttestor
from inborn_agent.ca.sync import Sync
from inborn_agent.live.attested_callers import Context, RelayedConnections, find_caller
from inborn_agent.live.live_cache import LiveCache
from inborn_member.own_identity import OwnIdentity
from inborn_proto import agent_pb2

__all__ = ["AgentAdminService", "NotAnAdmin", "require_admin"]

_NAMESPACES = ("user", "pid")


class NotAnAdmin(DeniedError):
    """The caller is neither root nor the agent's user."""


class AgentAdminService:
    """The servicer of `inborn.agent.v1.AgentAdmin`."""

    def __init__(
        self,
        live: LiveCache,
        own: OwnIdentity,
        sync: Sync,
        attestor: WorkloadAttestor,
        connections: RelayedConnections,
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
        self._connections = connections
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
        require_admin(find_caller(self._connections, context).process)
        with pin_pid(request.pid, proc=self._proc) as process:
            evidence = await self._attestor.attest(process)
            return explain(process, evidence, entries=self._live.cache.entries)

    async def GetStatus(self, request: agent_pb2.AgentStatusRequest, context: Context) -> agent_pb2.AgentStatus:
        require_admin(find_caller(self._connections, context).process)
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


def require_admin(process: PinnedProcess) -> None:
    """Raises `NotAnAdmin` unless the process is root's or the agent's user's, in the agent's own namespaces."""
    if process.uid not in (0, os.geteuid()):
        raise NotAnAdmin(f"uid {process.uid} is neither root nor the agent's user")
    for name in _NAMESPACES:
        theirs, ours = process.stat(f"ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            raise NotAnAdmin(f"process {process.pid} lives in another {name} namespace than the agent")
