"""Who is calling on one of the agent's sockets, and whether the access table lets them.

The one gate of all the agent's services: `app` hands a `local_guard` to each handler that it makes, and the services
themselves ask nothing. A caller's class follows from the socket and from what the kernel said of the process when its
connection was relayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from inborn._internal.process.pinning import PinnedProcess
from inborn._internal.rpc.services import Guard
from inborn._internal.wire.access import CallerClass, check
from inborn_agent.live.attested_callers import Context, RelayedConnections, find_caller

__all__ = ["LocalCaller", "local_guard", "on_admin_socket", "on_workload_socket"]

_NAMESPACES = ("user", "pid")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCaller:
    """The class of a process on this host."""

    kind: CallerClass
    because: str = ""
    """Why it has no better class; empty where there is none."""


def on_workload_socket(process: PinnedProcess) -> LocalCaller:
    """Any process may ask here. What it is given is decided by what it is attested to be."""
    return LocalCaller(kind=CallerClass.LOCAL_WORKLOAD)


def on_admin_socket(process: PinnedProcess) -> LocalCaller:
    """Root and the agent's user are admins, in the agent's own namespaces: a container's root is somebody else.

    Raises `DeniedError` for a process whose namespaces cannot be read, because it has ended for example.
    """
    if process.uid not in (0, os.geteuid()):
        return LocalCaller(
            kind=CallerClass.LOCAL_OTHER, because=f"uid {process.uid} is neither root nor the agent's user"
        )
    for name in _NAMESPACES:
        theirs, ours = process.stat(f"ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            return LocalCaller(
                kind=CallerClass.LOCAL_OTHER,
                because=f"process {process.pid} lives in another {name} namespace than the agent",
            )
    return LocalCaller(kind=CallerClass.AGENT_ADMIN)


def local_guard(connections: RelayedConnections, classify: Callable[[PinnedProcess], LocalCaller]) -> Guard:
    """The guard of one socket: `connections` are its relay's, `classify` one of the two above.

    It raises `UnknownConnection` for a call that did not come through the relay, and `CallNotAllowed` for one that the
    table does not allow to the caller's class.
    """

    def guard(method: str, context: Context) -> None:
        caller = classify(find_caller(connections, context).process)
        check(method, caller.kind, because=caller.because)

    return guard
