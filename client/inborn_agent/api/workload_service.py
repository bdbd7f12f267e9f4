"""The SPIFFE Workload API, X.509 part, byte-compatible (SPIFFE Workload API 5, Workload Endpoint).

Rules that clients of all languages rely on: every message is the full state, and the first comes at once. A
stream never ends with OK: at shutdown with UNAVAILABLE, when the caller has no identity (any more) with
PERMISSION_DENIED, which is said only when it is sure. Nothing half-built is ever sent. The JWT and WIT profiles answer
UNIMPLEMENTED, to whoever may call them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.wire.messages import UnimplementedError
from inborn.errors import InternalError, RequestError, UnavailableError
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.slots import Held, View
from inborn_agent.counted_events import CALL_DENIED
from inborn_agent.live.attested_callers import (
    AttestedCaller,
    Context,
    NoIdentityIssued,
    RelayedConnections,
    find_caller,
    require_serving,
)
from inborn_agent.live.live_cache import LiveCache, Subscription
from inborn_agent.live.losses import Losses
from inborn_proto import workload

__all__ = [
    "HEADER",
    "MissingHeader",
    "WorkloadService",
    "bundles_response",
    "check_response",
    "no_identity_reason",
    "svid_response",
]

_log = get_logger("agent.workload")

HEADER = "workload.spiffe.io"

SETTLE_LIMIT = dt.timedelta(seconds=5)
"""How long a caller waits for the CA's answer on each of its identities: a CA under load takes one."""

_M = TypeVar("_M", bound=Message)


class MissingHeader(RequestError):
    """The call lacks what tells a Workload API client from a request that somebody was tricked into sending."""


class WorkloadService:
    """The servicer; its methods have the names of the RPCs."""

    def __init__(self, live: LiveCache, connections: RelayedConnections, losses: Losses, metrics: Metrics) -> None:
        self._live = live
        self._connections = connections
        self._losses = losses
        self._metrics = metrics

    async def FetchX509SVID(self, request: Message, context: Context) -> AsyncIterator[Message]:
        async for message in self._follow(context, svid_response):
            yield message

    async def FetchX509Bundles(self, request: Message, context: Context) -> AsyncIterator[Message]:
        async for message in self._follow(context, bundles_response):
            yield message

    async def FetchJWTSVID(self, request: Message, context: Context) -> Message:
        raise _not_served("JWT")

    async def FetchJWTBundles(self, request: Message, context: Context) -> AsyncIterator[Message]:
        for message in _stream_not_served("JWT"):
            yield message

    async def ValidateJWTSVID(self, request: Message, context: Context) -> Message:
        raise _not_served("JWT")

    async def FetchWITSVID(self, request: Message, context: Context) -> AsyncIterator[Message]:
        for message in _stream_not_served("WIT"):
            yield message

    async def FetchWITBundles(self, request: Message, context: Context) -> AsyncIterator[Message]:
        for message in _stream_not_served("WIT"):
            yield message

    async def _follow(
        self, context: Context, build: Callable[[Cache, View[X509Svid], dt.datetime], _M]
    ) -> AsyncIterator[_M]:
        """Send what `build` makes of the caller's view whenever that is something else than before."""
        require_header(context)
        caller = find_caller(self._connections, context)
        require_serving(self._live)
        subscription = self._live.subscribe(await self._losses.attest(caller))
        try:
            last: _M | None = None
            while True:
                view, has_waited = await self._settled(subscription, caller)
                message = build(self._live.cache, view, self._live.now())
                if message != last:
                    if has_waited:
                        # Between the look at the caller and the answer of the CA it may have become somebody else.
                        subscription.attested(await self._losses.attest(caller))
                        if subscription.changed.is_set():
                            continue
                    if build is svid_response:
                        self._losses.gave(caller, view.held)
                    yield message
                    last = message
                await subscription.changed.wait()
                require_serving(self._live)
                subscription.attested(await self._losses.attest(caller))
        except NoIdentityIssued:
            self._metrics.count(CALL_DENIED, kind="NoIdentityIssued")
            raise
        finally:
            subscription.close()

    async def _settled(self, subscription: Subscription, caller: AttestedCaller) -> tuple[View[X509Svid], bool]:
        """The caller's view once the CA has answered for all of it, with at least one identity in it; and whether any
        time has passed meanwhile.

        Raises `NoIdentityIssued` or `UnavailableError`.
        """
        view, has_waited = subscription.view(), False
        try:
            async with asyncio.timeout(SETTLE_LIMIT.total_seconds()):
                while True:
                    subscription.changed.clear()
                    view = subscription.view()
                    if view.is_settled:
                        break
                    has_waited = True
                    await subscription.changed.wait()
                    require_serving(self._live)
        except TimeoutError:
            pass
        if view.held:
            return view, has_waited
        if view.entries == 0 and not self._live.knows_entries:
            raise UnavailableError("the agent has not heard from the CA since it was started")
        if view.entries == 0 or view.denial:
            _log.event(
                "caller.no_identity",
                pid=caller.process.pid,
                uid=caller.process.uid,
                reason=no_identity_reason(view),
                selectors=" ".join(sorted(str(s) for s in caller.evidence.selectors if s.type == "unix")),
            )
            raise NoIdentityIssued
        raise UnavailableError(f"the CA cannot be asked: {view.problem}" if view.problem else "the CA does not answer")


def _not_served(profile: str) -> UnimplementedError:
    return UnimplementedError(f"the {profile} profile of the Workload API is not served")


def _stream_not_served(profile: str) -> Iterable[Message]:
    """Raises `UnimplementedError` where the messages of a stream would be."""
    raise _not_served(profile)


def no_identity_reason(view: View[X509Svid]) -> str:
    """Why there is none, where that is sure. Names what a policy demands, and no entry: root alone is told those."""
    if view.refused and not view.entries:
        return f"a posture policy demands {view.refused[0].unmet}, which this process does not show"
    return view.denial or "no registration entry matches this process; `inborn why` shows its selectors"


def require_header(context: Context) -> None:
    """The header must be there exactly once, with exactly this value (SPIFFE Workload Endpoint 3)."""
    metadata: Any = context.invocation_metadata() or ()
    values = [value for key, value in metadata if key == HEADER]
    if values != ["true"]:
        raise MissingHeader(f"security header missing from request: {HEADER}: true")


def svid_response(cache: Cache, view: View[X509Svid], now: dt.datetime) -> workload.X509SVIDResponse:
    """All of a caller's identities, its default one first. Raises `InternalError` if it is not whole."""
    if cache.bundle is None:
        raise InternalError("there is no bundle")
    bundle = cache.bundle.der()
    response = workload.X509SVIDResponse(
        svids=[
            workload.X509SVID(
                spiffe_id=str(held.svid.spiffe_id),
                x509_svid=held.svid.chain_der(),
                x509_svid_key=held.svid.key_der(),
                bundle=bundle,
                hint=hint,
            )
            for held, hint in zip(view.held, unique_hints(view.held), strict=True)
        ],
        crl=cache.crls,
    )
    check_response(response, now)
    return response


def bundles_response(cache: Cache, view: View[X509Svid], now: dt.datetime) -> workload.X509BundlesResponse:
    """The bundle of the agent's own trust domain, for callers that have an identity."""
    if cache.bundle is None:
        raise InternalError("there is no bundle")
    return workload.X509BundlesResponse(crl=cache.crls, bundles={str(cache.trust_domain.id): cache.bundle.der()})


def unique_hints(held: tuple[Held[X509Svid], ...]) -> list[str]:
    """The hints, each once: a later identity with a hint that an earlier one has goes without."""
    seen: set[str] = set()
    hints: list[str] = []
    for hint in (h.entry.hint for h in held):
        hints.append("" if hint in seen else hint)
        seen.add(hint)
    return hints


def check_response(response: workload.X509SVIDResponse, now: dt.datetime) -> None:
    """Check what is about to be sent as a client would. Raises `InternalError`."""
    hints = [svid.hint for svid in response.svids if svid.hint]
    if not response.svids or len(set(hints)) != len(hints):
        raise InternalError("response has no SVID, or a hint twice")
    for wire in response.svids:
        svid = X509Svid.parse(wire.x509_svid, wire.x509_svid_key)
        if str(svid.spiffe_id) != wire.spiffe_id:
            raise InternalError(f"response calls {svid.spiffe_id} {wire.spiffe_id}")
        if svid.leaf.not_valid_after_utc <= now or not wire.bundle:
            raise InternalError(f"SVID of {svid.spiffe_id} has expired or has no bundle")
