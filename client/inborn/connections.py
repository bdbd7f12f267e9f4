"""Open connections whose peers were verified, and their end when a peer is revoked, expires or loses its root.

Only that peer's connections are closed. A connection is looked at when it is added, with every snapshot, and when its
certificate ends; the wall clock is looked at once a minute as well, because somebody may set it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509

from inborn.background import background_loop
from inborn.bundle import X509Bundle
from inborn.errors import InbornError
from inborn.identity import IdentitySource, Snapshot
from inborn.svid import CertificateFacts
from inborn.verify import Authorizer, verify_chain, verify_current

__all__ = ["Connection", "Connections"]

log = logging.getLogger(__name__)

_LONGEST_NAP = 60.0  # seconds between two looks at the wall clock


@dataclass(slots=True, kw_only=True, eq=False)
class Connection:
    """One open connection. `close` is called once, from any thread, with the reason, and must not block."""

    facts: CertificateFacts
    chain: tuple[x509.Certificate, ...]
    bundle: X509Bundle
    close: Callable[[InbornError], None]


class Connections:
    """The open connections of one source under one authorizer. Safe for use from any thread."""

    def __init__(self, source: IdentitySource, authorize: Authorizer) -> None:
        self._source = source
        self._authorize = authorize
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: dt.datetime | None = None
        me = weakref.ref(self)
        unsubscribe = source.subscribe(lambda snapshot: _sweep(me))
        weakref.finalize(self, unsubscribe)

    def __len__(self) -> int:
        return len(self._open)

    def verify(self, chain: tuple[x509.Certificate, ...] | list[bytes]) -> tuple[CertificateFacts, X509Bundle]:
        """Verify a peer's chain against what is known now. Raises what `verify_chain` raises."""
        snapshot = self._source.snapshot()
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

        Raises what `verify_chain` raises if something happened since the peer was verified: a rule that came between
        is seen here, a later one by the sweep.
        """
        with self._lock:
            self._open.add(connection)
        try:
            self._check(connection, self._source.snapshot(), _now())
        except InbornError:
            self.remove(connection)
            raise
        at = self._timer_at
        if at is None or connection.facts.not_after < at:
            background_loop().call_soon_threadsafe(_set_timer, weakref.ref(self))

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._open.discard(connection)

    def sweep(self) -> None:
        """Close every connection whose peer may not be talked to any more."""
        with self._lock:
            connections = list(self._open)
        snapshot, now = self._source.snapshot(), _now()
        for connection in connections:
            try:
                self._check(connection, snapshot, now)
            except InbornError as e:
                self.remove(connection)
                log.warning("connection closed peer=%s reason=%s", connection.facts.spiffe_id, e)
                connection.close(e)

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
        """On the loop: wake when the next certificate ends."""
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
