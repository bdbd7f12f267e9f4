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
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from inborn._internal.source.background import background_loop
from inborn._internal.source.snapshot import IdentitySource, Snapshot
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.verification.freshness import Freshness, FreshnessPolicy, KnowledgeExpired, heard
from inborn._internal.verification.verify import Authorizer, verify_chain, verify_current
from inborn.errors import InbornError

__all__ = ["Connection", "Connections", "Direction", "LivePeer", "live_peers"]

log = logging.getLogger(__name__)

_LONGEST_NAP = dt.timedelta(seconds=60)  # between two looks at the wall clock

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
    since: float = field(default_factory=time.time)
    """When it was opened, in seconds since the epoch."""


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
        # Adding to a set, taking out of it and copying it are one step each, whichever thread does it: no call of a
        # server pays for a lock.
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
        connections = list(self._open)
        return [
            LivePeer(
                spiffe_id=connection.facts.spiffe_id,
                serial=connection.facts.serial,
                since=dt.datetime.fromtimestamp(connection.since, dt.UTC),
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

    def fresh_until(self, snapshot: Snapshot) -> float:
        """Until when, on the monotonic clock, `check_freshness` says of this snapshot what it says now."""
        if snapshot.heard_at is None:
            return math.inf
        end = snapshot.heard_at + self._freshness.expired_after.total_seconds()
        return end if self._monotonic() < end else math.inf

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

        Raises what `verify` raises if something happened since the peer was verified: a revocation that came between is
        seen here, a later one by the sweep.
        """
        self._open.add(connection)
        try:
            self._check(connection, self._source.snapshot(), _now())
        except InbornError:
            self.remove(connection)
            raise
        self._see_to_its_end(connection)

    def add_judged(self, connection: Connection) -> None:
        """`add` for whoever sees by himself, and after this, that nothing has happened since the peer was verified."""
        self._open.add(connection)
        self._see_to_its_end(connection)

    def _see_to_its_end(self, connection: Connection) -> None:
        at = self._timer_at
        if at is None or connection.facts.not_after < at:
            # A call is over in less time than the loop takes to wake up: it is asked once for many of them.
            self._timer_at = min(connection.facts.not_after, _now() + _LONGEST_NAP)
            background_loop().call_soon_threadsafe(_set_timer, weakref.ref(self))

    def remove(self, connection: Connection) -> None:
        self._open.discard(connection)

    def sweep(self) -> None:
        """Close every connection whose peer may not be talked to any more."""
        connections = list(self._open)
        if not connections:
            return
        snapshot, now = self._source.snapshot(), _now()
        expired = self._expired(snapshot)
        closed: dict[tuple[str, str], int] = {}
        for connection in connections:
            try:
                if expired is not None:
                    raise expired
                self._check(connection, snapshot, now)
            except InbornError as e:
                self.remove(connection)
                connection.close(e)
                line = str(connection.facts.spiffe_id), str(e)
                closed[line] = closed.get(line, 0) + 1
        for (peer, reason), count in closed.items():
            often = f" ({count} of them)" if count > 1 else ""
            log.warning("connection closed peer=%s reason=%s%s", peer, reason, often)

    def _expired(self, snapshot: Snapshot) -> KnowledgeExpired | None:
        """Why everything that is open has to be closed; None: it has not."""
        try:
            self.check_freshness(snapshot, is_new=False)
        except KnowledgeExpired as e:
            return e
        return None

    def _check(self, connection: Connection, snapshot: Snapshot, now: dt.datetime) -> None:
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
        if self._timer_at is None:
            self._timer = None
            return
        # A certificate is good until the end of its last second has begun: look just after it.
        nap = max(0.0, (self._timer_at - _now()).total_seconds()) + 0.001
        age = self._source.snapshot().age(self._monotonic())
        if age is not None and age <= self._freshness.expired_after:
            nap = min(nap, (self._freshness.expired_after - age).total_seconds() + 0.001)
        self._timer = background_loop().call_later(nap, _wake, weakref.ref(self))

    def _wake(self) -> None:
        """On the loop: look, and sleep again if anything is open."""
        self._timer_at = None  # whoever is added from here on sees to its own end
        self.sweep()
        ends = [connection.facts.not_after for connection in list(self._open)]
        if ends:
            self._timer_at = min(min(ends), _now() + _LONGEST_NAP)
        self._set_timer()


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
        connections._wake()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
