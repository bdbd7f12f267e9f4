"""Open connections whose peers were verified, and their end when a peer is revoked, expires or loses its root.

Only that peer's connections are closed. A connection is looked at when it is added, with every snapshot, and when its
certificate ends; the wall clock is looked at once a minute as well, because somebody may set it. Where the freshness
policy is `closed`, all of them are closed when the CA has not been heard for too long.

`live_peers()` says who is connected to this process now. gRPC shows its servers calls and no connections: a caller of a
gRPC server is listed once for each call that is open, and not between two calls.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from inborn.background import background_loop
from inborn.bundle import X509Bundle
from inborn.errors import InbornError
from inborn.freshness import Freshness, FreshnessPolicy, heard
from inborn.identity import IdentitySource, Snapshot
from inborn.spiffeid import SpiffeId
from inborn.svid import CertificateFacts
from inborn.verify import Authorizer, verify_chain, verify_current

__all__ = ["Connection", "Connections", "Direction", "LivePeer", "live_peers"]

log = logging.getLogger(__name__)

_LONGEST_NAP = 60.0  # seconds between two looks at the wall clock

_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_all_lock = threading.Lock()


class Direction(StrEnum):
    """Who began."""

    INBOUND = "inbound"
    """The peer: we are its server."""
    OUTBOUND = "outbound"
    """This process: we are the peer's client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePeer:
    """One open connection (of a gRPC server: one open call), as `live_peers` gives it."""

    spiffe_id: SpiffeId
    serial: bytes
    """Of the peer's certificate, as `inborn revoke --serial` takes it in hexadecimal."""
    since: dt.datetime
    """When it was opened."""
    expires: dt.datetime
    """When the peer's certificate ends, and the connection with it."""
    direction: Direction


def live_peers() -> tuple[LivePeer, ...]:
    """Who is connected to this process now, over whichever context, interceptor or channel; the oldest first.

    May be called from any thread. Only what goes through this library is seen.
    """
    with _all_lock:
        groups = list(_all)
    return tuple(sorted((peer for group in groups for peer in group.live_peers()), key=lambda peer: peer.since))


@dataclass(slots=True, kw_only=True, eq=False)
class Connection:
    """One open connection. `close` is called once, from any thread, with the reason, and must not block."""

    facts: CertificateFacts
    chain: tuple[x509.Certificate, ...]
    bundle: X509Bundle
    close: Callable[[InbornError], None]
    since: dt.datetime = field(default_factory=lambda: _now())


class Connections:
    """The open connections of one source under one authorizer. Safe for use from any thread.

    `monotonic` is the clock that the CA's silence is measured with, and the same that the source's `heard_at` is of.
    """

    def __init__(
        self,
        source: IdentitySource,
        authorize: Authorizer,
        *,
        direction: Direction,
        freshness: FreshnessPolicy,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._authorize = authorize
        self._direction = direction
        self._freshness = freshness
        self._monotonic = monotonic
        self._has_warned = False
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: dt.datetime | None = None
        me = weakref.ref(self)
        unsubscribe = source.subscribe(lambda snapshot: _sweep(me))
        weakref.finalize(self, unsubscribe)
        with _all_lock:
            _all.add(self)

    def __len__(self) -> int:
        return len(self._open)

    def live_peers(self) -> list[LivePeer]:
        """Whose connections are open now."""
        with self._lock:
            connections = list(self._open)
        return [
            LivePeer(
                spiffe_id=connection.facts.spiffe_id,
                serial=connection.facts.serial,
                since=connection.since,
                expires=connection.facts.not_after,
                direction=self._direction,
            )
            for connection in connections
        ]

    def check_freshness(self, snapshot: Snapshot, *, is_new: bool = True) -> None:
        """Raise `KnowledgeExpired` where the CA has not been heard for too long and the policy is to refuse then."""
        age = snapshot.age(self._monotonic())
        policy = self._freshness
        if policy.judge(age) is not Freshness.EXPIRED:
            self._has_warned = False
            return
        # An age that was never known is no news: not every source has one.
        if not self._has_warned and age is not None:
            self._has_warned = True
            log.warning("knowledge of revocations expired, policy=%s reason=%s", policy.when_expired, heard(age))
        policy.check(age, is_new=is_new)

    def verify(self, chain: tuple[x509.Certificate, ...] | list[bytes]) -> tuple[CertificateFacts, X509Bundle]:
        """Verify a new peer's chain against what is known now.

        Raises what `verify_chain` raises, and `KnowledgeExpired`.
        """
        snapshot = self._source.snapshot()
        self.check_freshness(snapshot)
        facts = verify_chain(
            chain,
            bundles=snapshot.bundles,
            revocations=snapshot.revocations,
            authorize=self._authorize,
            now=_now(),
        )
        return facts, snapshot.bundles[facts.spiffe_id.trust_domain]

    def add(self, connection: Connection) -> None:
        """Look after a connection from now on.

        Raises what `verify` raises if something happened since the peer was verified: a rule that came between is seen
        here, a later one by the sweep.
        """
        with self._lock:
            self._open.add(connection)
        try:
            self._check(connection, self._source.snapshot(), _now())
        except InbornError:
            self.remove(connection)
            raise
        at = self._timer_at
        if at is None or connection.facts.not_after < at:  # the timer looks at the CA's silence by itself
            background_loop().call_soon_threadsafe(_set_timer, weakref.ref(self))

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._open.discard(connection)

    def sweep(self) -> None:
        """Close every connection whose peer may not be talked to any more."""
        with self._lock:
            connections = list(self._open)
        if not connections:
            return
        snapshot, now = self._source.snapshot(), _now()
        for connection in connections:
            try:
                self._check(connection, snapshot, now)
            except InbornError as e:
                self.remove(connection)
                log.warning("connection closed peer=%s reason=%s", connection.facts.spiffe_id, e)
                connection.close(e)

    def _check(self, connection: Connection, snapshot: Snapshot, now: dt.datetime) -> None:
        self.check_freshness(snapshot, is_new=False)
        facts = connection.facts
        bundle = snapshot.bundles.get(facts.spiffe_id.trust_domain)
        if bundle is not None and (bundle is connection.bundle or bundle == connection.bundle):
            verify_current(facts, revocations=snapshot.revocations, now=now)
            return
        verify_chain(
            connection.chain,
            bundles=snapshot.bundles,
            revocations=snapshot.revocations,
            authorize=self._authorize,
            now=now,
        )
        connection.bundle = snapshot.bundles[facts.spiffe_id.trust_domain]

    def _set_timer(self) -> None:
        """On the loop: wake when the next certificate ends, or what is known expires."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            ends = [connection.facts.not_after for connection in self._open]
        if not ends:
            self._timer = self._timer_at = None
            return
        now = _now()
        self._timer_at = min(min(ends), now + dt.timedelta(seconds=_LONGEST_NAP))
        # A certificate is good until the end of its last second has begun: look just after it.
        nap = max(0.0, (self._timer_at - now).total_seconds()) + 0.001
        age = self._source.snapshot().age(self._monotonic())
        if age is not None and age <= self._freshness.expired_after:
            nap = min(nap, (self._freshness.expired_after - age).total_seconds() + 0.001)
        self._timer = background_loop().call_later(nap, _wake, weakref.ref(self))


def _sweep(ref: weakref.ref[Connections]) -> None:
    connections = ref()
    if connections is not None:
        connections.sweep()


def _set_timer(ref: weakref.ref[Connections]) -> None:
    connections = ref()
    if connections is not None:
        connections._set_timer()


def _wake(ref: weakref.ref[Connections]) -> None:
    connections = ref()
    if connections is not None:
        connections.sweep()
        connections._set_timer()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
