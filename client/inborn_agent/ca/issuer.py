"""Asking the CA for what the cache wants, in natural batches: what becomes due while a request is under way is the
next request. No timers; one request at a time, signed once by the agent.

Keys and CSRs of workloads are made here, and a certificate is used only if it is what was asked for and leads to our
own bundle.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.selector import Selector
from inborn._internal.selectors.trust import trust_class
from inborn._internal.spiffe.x509_svid import InvalidSvid, X509Svid, parse_chain
from inborn._internal.verification.verify import verify_chain
from inborn._internal.wire.messages import error_from_message
from inborn._internal.wire.signed_request import MAX_BODY_SIZE
from inborn.errors import DeniedError, ExhaustedError, InbornError, InternalError, UnavailableError
from inborn_agent.cache.slots import Want
from inborn_agent.counted_events import ISSUE_REQUEST_FAILED, SVID_ISSUED, SVID_REFUSED
from inborn_agent.live.live_cache import LiveCache
from inborn_proto import ca_pb2

__all__ = ["MAX_BATCH", "MAX_REPORTED", "Issuer", "in_batches", "make_csr", "reported"]

_log = get_logger("agent.issuing")

MAX_BATCH = 500
"""Items of one request: what the CA takes. Their CSRs are 150 KiB."""

MAX_BATCH_SIZE = MAX_BODY_SIZE - 4096
"""Bytes of a batch: what a signed request may have, less what stands around it. 500 workloads take one or two."""

_ITEM_SIZE = 512  # bytes of an item without its facts: an ID and a CSR

MAX_REPORTED = 256
"""Selectors of one item: what the CA takes. A container with hundreds of labels has more."""

_STRENGTH = {strength: rank for rank, strength in enumerate(TrustClass)}

# Up to so many keys are made in the event loop (0.1 ms each); more of them in a thread.
_INLINE_KEYS = 4

Ask = Callable[[ca_pb2.IssueRequest], Awaitable[ca_pb2.IssueResponse]]


class Issuer:
    """Drives the cache's wants. `ask` sends a request to the CA, signed; it waits while the agent has no identity."""

    def __init__(
        self,
        live: LiveCache,
        ask: Ask,
        metrics: Metrics,
        *,
        on_refused: Callable[[InbornError], None] | None = None,
    ) -> None:
        self._live = live
        self._ask = ask
        self._metrics = metrics
        self._on_refused = on_refused

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._live.due.wait()
            self._live.due.clear()
            while wants := self._live.cache.take_due(self._live.now(), limit=MAX_BATCH):
                for batch in in_batches(wants):
                    await self._batch(batch)

    async def _batch(self, wants: list[Want]) -> None:
        try:
            if len(wants) <= _INLINE_KEYS:
                made = [make_csr() for _ in wants]
            else:
                made = await asyncio.to_thread(lambda: [make_csr() for _ in wants])
            request = ca_pb2.IssueRequest(
                items=[
                    ca_pb2.IssueItem(entry_id=w.entry.id, csr=csr, selectors=reported(w.selectors, w.entry))
                    for w, (_, csr) in zip(wants, made, strict=True)
                ]
            )
            response = await self._ask(request)
        except asyncio.CancelledError:
            self._fail(wants, UnavailableError("the agent is stopping"))
            raise
        except InbornError as error:
            self._fail(wants, error)
            return
        except Exception as error:
            _log.exception("issue.failed")
            self._fail(wants, InternalError(f"asking the CA failed: {type(error).__name__}"))
            return
        if len(response.results) != len(wants):
            self._fail(wants, InternalError(f"the CA answered {len(response.results)} of {len(wants)} items"))
            return
        now = self._live.now()
        for want, (key, _), result in zip(wants, made, response.results, strict=True):
            self._take(want, key, result, response.issuer, now)

    def _fail(self, wants: Sequence[Want], error: InbornError) -> None:
        """The request as a whole came to nothing. That says nothing of the single entries: no denial."""
        self._metrics.count(ISSUE_REQUEST_FAILED, kind=error.kind)
        _log.warning("issue.failed", items=len(wants), kind=error.kind, reason=error.message)
        for want in wants:
            self._live.refused(want, error.message, is_denial=False)
        if self._on_refused is not None and isinstance(error, DeniedError):
            self._on_refused(error)

    def _take(
        self, want: Want, key: ec.EllipticCurvePrivateKey, result: ca_pb2.IssueResult, issuer: bytes, now: dt.datetime
    ) -> None:
        try:
            if result.HasField("error"):
                raise error_from_message(result.error)
            svid = self._verified(want, key, [result.leaf, issuer], now)
        except InbornError as error:
            # The CA said no to this one, unless it said that it cannot now, or what it sent is of no use.
            is_denial = not isinstance(error, UnavailableError | InternalError | InvalidSvid | ExhaustedError)
            self._metrics.count(SVID_REFUSED, kind=error.kind)
            _log.warning(
                "svid.refused",
                spiffe_id=want.entry.spiffe_id,
                entry=want.entry.id,
                kind=error.kind,
                reason=error.message,
            )
            self._live.refused(want, error.message, is_denial=is_denial)
            return
        self._metrics.count(SVID_ISSUED)
        _log.event(
            "svid.issued",
            spiffe_id=svid.spiffe_id,
            serial=svid.facts.serial.hex(),
            entry=want.entry.id,
            not_after=svid.facts.not_after.isoformat(),
        )
        self._live.issued(want, svid)

    def _verified(self, want: Want, key: ec.EllipticCurvePrivateKey, chain: list[bytes], now: dt.datetime) -> X509Svid:
        """Raises `InternalError` or `InvalidSvid` for what a CA that works does not send."""
        cache = self._live.cache
        if cache.bundle is None:
            raise UnavailableError("there is no bundle yet")
        svid = X509Svid.parse(
            b"".join(chain),
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            hint=want.entry.hint,
            issued_at=now,
        )
        if svid.spiffe_id != want.entry.spiffe_id:
            raise InternalError(f"the CA issued for {svid.spiffe_id}, asked was {want.entry.spiffe_id}")
        try:
            verify_chain(
                parse_chain(chain),
                bundles={cache.trust_domain: cache.bundle},
                revocations=cache.revocations,
                authorize=lambda _: True,
                now=now,
            )
        except DeniedError as error:
            raise InternalError(f"the CA issued what does not verify: {error.message}") from error
        return svid


def in_batches(wants: Sequence[Want], *, limit: int = MAX_BATCH_SIZE) -> Iterator[list[Want]]:
    """As few batches as fit into a message each: facts of one workload must not make the others' too long."""
    batch: list[Want] = []
    size = 0
    for want in wants:
        octets = _ITEM_SIZE + sum(len(fact.encode()) + 4 for fact in reported(want.selectors, want.entry))
        if batch and size + octets > limit:
            yield batch
            batch, size = [], 0
        batch.append(want)
        size += octets
    if batch:
        yield batch


@lru_cache(maxsize=1024)
def reported(selectors: frozenset[Selector], entry: FeedEntry) -> tuple[str, ...]:
    """What the CA is told of a process, in order: all of it, or, of too much, what the entry wants and the strongest.

    Workloads of one kind have the same forty facts, so that they are put in order once.
    """
    if len(selectors) > MAX_REPORTED:
        wanted = entry.selectors.union(*(demand.any_of for demand in entry.demands))
        ranked = sorted(selectors, key=lambda s: (s not in wanted, _STRENGTH[trust_class(s)], s))
        selectors = frozenset(ranked[:MAX_REPORTED])
    return tuple(sorted(map(str, selectors)))


def make_csr() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A new P-256 key and a CSR (PKCS#10 DER) that proves to hold it. The CSR asks for nothing: only its key counts."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.DER)
