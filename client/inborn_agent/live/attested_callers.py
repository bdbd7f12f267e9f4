"""Who is calling: from a gRPC call on the relayed socket to the pinned and attested process behind it."""

from __future__ import annotations

from typing import Any, Protocol

import grpc

from inborn._internal.process.pinning import PinnedProcess
from inborn._internal.selectors.selector import Selector
from inborn.errors import DeniedError, UnavailableError
from inborn_agent.attest import Evidence
from inborn_agent.live.live_cache import LiveCache

__all__ = ["AttestedCaller", "NoIdentityIssued", "RelayedConnections", "find_caller", "require_serving"]


class NoIdentityIssued(DeniedError):
    """The caller has no identity, and it is sure that it has none. Clients know the text by heart."""

    def __init__(self) -> None:
        super().__init__("no identity issued")


class AttestedCaller(Protocol):
    """One relayed connection."""

    @property
    def process(self) -> PinnedProcess: ...
    @property
    def evidence(self) -> Evidence: ...
    def is_alive(self) -> bool: ...
    async def attest_again(self) -> Evidence: ...


class RelayedConnections(Protocol):
    """Who knows the connections: the relay."""

    def connection(self, peer: str) -> AttestedCaller: ...


Context = grpc.aio.ServicerContext[Any, Any]


def find_caller(connections: RelayedConnections, context: Context) -> AttestedCaller:
    """Raises `UnknownConnection` for a call that did not come through the relay."""
    return connections.connection(context.peer())


async def attested_selectors(caller: AttestedCaller) -> frozenset[Selector]:
    """What the caller is now. Raises `DeniedError` if it has ended or has become somebody else."""
    evidence = await caller.attest_again()
    if not caller.is_alive():
        raise NoIdentityIssued
    return evidence.selectors


def require_serving(live: LiveCache) -> None:
    """Raises `UnavailableError` while nobody can be sure who has an identity, and when the agent ends.

    An agent that was banned gives out nothing more, also what it holds: it no longer hears what was revoked.
    """
    if live.is_stopping:
        raise UnavailableError("the agent is stopping")
    if live.is_suspended():
        raise UnavailableError("this agent's own certificate is revoked")
    if not live.cache.is_synced:
        raise UnavailableError("the agent has not heard from the CA yet")
