"""The callers of a gRPC server: each is verified with each call, and the calls that are open are looked after."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from cryptography import x509

from inborn.bundle import X509Bundle
from inborn.connections import Connection, Connections, Direction
from inborn.errors import InbornError, UnauthenticatedError
from inborn.freshness import FreshnessPolicy
from inborn.identity import IdentitySource
from inborn.svid import MAX_CHAIN_LENGTH, CertificateFacts
from inborn.verify import Authorizer, NotAuthorized, verify_current

__all__ = ["Callers"]

_CACHED_PEERS = 4096  # verified chains that are remembered, of about 5 KiB each


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
        self._connections = Connections(
            source, authorize, direction=Direction.INBOUND, freshness=freshness, monotonic=monotonic
        )
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[tuple[x509.Certificate, ...], CertificateFacts, X509Bundle]] = (
            OrderedDict()
        )

    def enter(self, auth_context: Any, close: Callable[[InbornError], None]) -> Connection:
        """Verify the caller and look after the call from now on. Raises errors of `inborn.errors`."""
        snapshot = self._source.snapshot()
        snapshot.svid(dt.datetime.now(dt.UTC))  # without an identity of its own a server serves nobody
        self._connections.check_freshness(snapshot)
        chain, facts, bundle = self._verify(auth_context)
        connection = Connection(facts=facts, chain=chain, bundle=bundle, close=close)
        self._connections.add(connection)
        return connection

    def leave(self, connection: Connection) -> None:
        self._connections.remove(connection)

    def _verify(self, auth_context: Any) -> tuple[tuple[x509.Certificate, ...], CertificateFacts, X509Bundle]:
        pem = _first(auth_context, "x509_pem_cert") + _first(auth_context, "x509_pem_cert_chain")
        if not pem:
            raise UnauthenticatedError("caller presented no certificate")
        with self._lock:
            known = self._verified.get(pem)
            if known is not None:
                self._verified.move_to_end(pem)
        snapshot = self._source.snapshot()
        if known is not None:
            chain, facts, bundle = known
            held = snapshot.bundles.get(facts.spiffe_id.trust_domain)
            if held is not None and (held is bundle or held == bundle):
                verify_current(facts, revocations=snapshot.revocations, now=dt.datetime.now(dt.UTC))
                if not self._authorize(facts.spiffe_id):
                    raise NotAuthorized(f"peer {facts.spiffe_id} is not authorized")
                return known
        chain = _parse(auth_context)
        facts, bundle = self._connections.verify(chain)
        with self._lock:
            self._verified[pem] = (chain, facts, bundle)
            while len(self._verified) > _CACHED_PEERS:
                self._verified.popitem(last=False)
        return chain, facts, bundle


def _first(auth_context: Any, key: str) -> bytes:
    values = list(auth_context.get(key) or ())
    return bytes(values[0]) if values else b""


def _parse(auth_context: Any) -> tuple[x509.Certificate, ...]:
    """The caller's chain as gRPC gives it; the leaf comes first, whether or not the chain names it."""
    try:
        leaf = x509.load_pem_x509_certificate(_first(auth_context, "x509_pem_cert"))
        rest = x509.load_pem_x509_certificates(_first(auth_context, "x509_pem_cert_chain"))
    except ValueError as e:
        raise UnauthenticatedError("caller's certificate cannot be read") from e
    chain = (leaf, *(certificate for certificate in rest if certificate != leaf))
    if len(chain) > MAX_CHAIN_LENGTH:
        raise UnauthenticatedError(f"caller's chain is longer than {MAX_CHAIN_LENGTH} certificates: {len(chain)}")
    return chain
