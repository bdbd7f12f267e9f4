"""The callers of a gRPC server: each is verified with each call, and the calls that are open are looked after."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from inborn._internal.grpc_adapter.presented_chain import presented_leaf, presented_pem, read_presented
from inborn._internal.source.snapshot import IdentitySource, Snapshot
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.tls.connections import Connection, Connections, Direction
from inborn._internal.verification.freshness import FreshnessPolicy
from inborn._internal.verification.verify import Authorizer, NotAuthorized, verify_current
from inborn.errors import InbornError

__all__ = ["Callers"]

_CACHED_PEERS = 4096  # verified chains that are remembered, of 5 to 13 KiB each
_FEW_PEERS = 64  # are not looked through for those that have expired


class Callers:
    """Verifies the caller of each call, and looks after the calls that are open."""

    def __init__(
        self,
        source: IdentitySource,
        authorize: Authorizer,
        freshness: FreshnessPolicy,
        monotonic: Callable[[], float],
    ) -> None:
        self._source = source
        self._authorize = authorize
        self._monotonic = monotonic
        self._connections = Connections(
            source, authorize, direction=Direction.INBOUND, freshness=freshness, monotonic=monotonic
        )
        self._lock = threading.Lock()
        self._verified: dict[bytes, _Verified] = {}
        self._sweep_at = _FEW_PEERS

    def enter(self, auth_context: Any, close: Callable[[InbornError], None]) -> Connection:
        """Verify the caller and look after the call from now on. Raises errors of `inborn.errors`."""
        leaf = presented_leaf(auth_context)
        known = self._verified.get(leaf)
        if known is not None and self._authorize(known.facts.spiffe_id):
            connection = Connection(facts=known.facts, chain=known.chain, bundle=known.bundle, close=close)
            self._connections.add_judged(connection)
            if self._is_current(known):
                return connection
            self._connections.remove(connection)
        known = self._verify(auth_context, leaf)
        connection = Connection(facts=known.facts, chain=known.chain, bundle=known.bundle, close=close)
        self._connections.add(connection)
        return connection

    def _is_current(self, known: _Verified) -> bool:
        """Whether nothing that `_verify` looks at has changed. A sign of life of the CA is a change as well."""
        snapshot = self._source.snapshot()
        return (
            snapshot is known.snapshot
            and snapshot.revocations.generation == known.generation
            and known.since <= time.time() < known.until
            and self._monotonic() < known.fresh_until
        )

    def leave(self, connection: Connection) -> None:
        self._connections.remove(connection)

    def _verify(self, auth_context: Any, leaf: bytes) -> _Verified:
        """Judge a caller, as far as it has to be: a chain is led to a bundle once."""
        snapshot, now = self._source.snapshot(), dt.datetime.now(dt.UTC)
        generation = snapshot.revocations.generation
        own = snapshot.svid(now)  # without an identity of its own a server serves nobody
        known = self._verified.get(leaf)
        if known is not None and known.bundle == snapshot.bundles.get(known.facts.spiffe_id.trust_domain):
            chain, facts, bundle = known.chain, known.facts, known.bundle
            self._connections.check_freshness(snapshot)
            verify_current(facts, revocations=snapshot.revocations, now=now)
            if not self._authorize(facts.spiffe_id):
                raise NotAuthorized(f"peer {facts.spiffe_id} is not authorized")
        else:
            chain = read_presented(presented_pem(auth_context))
            facts, bundle = self._connections.verify(chain)
        verified = _Verified(
            chain=chain,
            facts=facts,
            bundle=bundle,
            snapshot=snapshot,
            generation=generation,
            since=now.timestamp(),
            until=min(facts.not_after, own.leaf.not_valid_after_utc).timestamp(),
            fresh_until=self._connections.fresh_until(snapshot),
        )
        with self._lock:
            self._verified.pop(leaf, None)
            self._verified[leaf] = verified
            if len(self._verified) >= self._sweep_at:
                self._forget_expired(now)
            while len(self._verified) > _CACHED_PEERS:
                del self._verified[next(iter(self._verified))]
        return verified

    def _forget_expired(self, now: dt.datetime) -> None:
        """Whoever rotates comes with another certificate each time. Looked for whenever there are twice as many."""
        for leaf in [leaf for leaf, known in self._verified.items() if known.facts.not_after <= now]:
            del self._verified[leaf]
        self._sweep_at = max(_FEW_PEERS, 2 * len(self._verified))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """A certificate that has been judged, and what that rested on. No other chain of it has to be looked at."""

    chain: tuple[x509.Certificate, ...]
    facts: CertificateFacts
    bundle: X509Bundle
    snapshot: Snapshot
    generation: int
    since: float
    until: float
    """Seconds since the epoch: until the caller's certificate or our own ends."""
    fresh_until: float
    """On the monotonic clock: until the freshness policy has to be asked again."""
