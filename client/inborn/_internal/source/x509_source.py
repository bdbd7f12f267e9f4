"""`X509Source`: this process's identity, live, from the agent.

Theory of operation. A task on the background loop follows the agent's stream: identities, bundles, revocations and how
long ago the CA was heard. From an agent that is not Inborn's it follows SPIFFE's own call, whose CRLs become
revocations. Everything is judged before it is published: a new SVID must lead to our own bundle, or the one before it
stays in use. While the agent is away the last snapshot is served (an expired SVID is never presented), and the task
comes back with growing pauses. An agent that says "no identity" is believed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from inborn._internal.feed.log_parts import LogReader
from inborn._internal.revocation.crl_reading import revocations_from_crls
from inborn._internal.revocation.revocation_set import RevocationGap, RevocationSet
from inborn._internal.rpc.services import AioStream
from inborn._internal.source.background import run_in_background
from inborn._internal.source.snapshot import NoIdentity, Snapshot, SnapshotCallback, StaticSource
from inborn._internal.source.workload_api import WorkloadApiClient, acknowledge, default_socket, parse_endpoint
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_trust_domain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import InvalidSvid, X509Svid
from inborn._internal.verification.verify import verify_chain
from inborn._internal.wire.messages import UnimplementedError, revocation_from_wire
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn_proto import agent_pb2, workload

__all__ = ["X509Source"]

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds: an agent that restarts is back in less than one
_CLOSING = 2.0  # seconds that closing may take before it is left to itself
_MAX_SVIDS = 1000  # identities of one process, as other SPIFFE clients take; more is a mistake, 2 ms each to verify


class X509Source:
    """A live `IdentitySource` over the Workload API. Use it as a context manager, `with` or `async with`.

    Entering waits up to `timeout` seconds for the first identity and raises `NoIdentity`, which quotes the agent's
    reason; 0 does not wait. `socket` is a path or `unix:///path`; by default see `workloadapi.default_socket`. All
    methods may be called from any thread. A process that forks opens its source afterwards: threads do not survive it.
    """

    def __init__(self, socket: str | Path | None = None, *, timeout: float = 30.0) -> None:
        self._endpoint = socket or default_socket()
        parse_endpoint(self._endpoint)
        self._timeout = timeout
        self._follower = _Follower(self._endpoint)
        self._task: Future[None] | None = None

    @classmethod
    def open(cls, socket: str | Path | None = None, *, timeout: float = 30.0) -> Self:
        """The same as the class itself; reads well in `async with X509Source.open() as source`."""
        return cls(socket, timeout=timeout)

    def snapshot(self) -> Snapshot:
        return self._follower.held.snapshot()

    def subscribe(self, callback: SnapshotCallback) -> Callable[[], None]:
        return self._follower.held.subscribe(callback)

    @property
    def svid(self) -> X509Svid:
        """The identity that is presented now. Raises `NoIdentity`."""
        return self.snapshot().svid(dt.datetime.now(dt.UTC))

    async def changed(self) -> Snapshot:
        """Wait for the next snapshot."""
        return await self._next(lambda _: False)

    async def _next(self, is_enough: Callable[[Snapshot], bool]) -> Snapshot:
        """The current snapshot if it is enough, else the next one."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Snapshot] = loop.create_future()

        def put(snapshot: Snapshot) -> None:
            if not arrived.done():
                arrived.set_result(snapshot)

        unsubscribe = self.subscribe(lambda snapshot: _call_soon(loop, put, snapshot))
        try:
            current = self.snapshot()  # looked at after subscribing: nothing comes between
            return current if is_enough(current) else await arrived
        finally:
            unsubscribe()

    def close(self) -> None:
        """Stop following. The last snapshot stays."""
        if self._task is not None:
            self._task.cancel()
            self._follower.stopped.wait(_CLOSING)

    def _start(self) -> None:
        if self._task is None:
            self._task = run_in_background(self._follower.run())

    def _no_identity(self) -> NoIdentity:
        reason = self.snapshot().reason
        return NoIdentity(
            f"no identity within {self._timeout:g} s: {reason}", hint="`inborn why` shows what the agent knows of you"
        )

    def __enter__(self) -> Self:
        self._start()
        if self._timeout > 0 and not self._follower.identified.wait(self._timeout):
            self.close()
            raise self._no_identity()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._start()
        if self._timeout > 0:
            try:
                async with asyncio.timeout(self._timeout):
                    while not (await self._next(_has_identity)).svids:
                        pass
            except TimeoutError:
                self.close()
                raise self._no_identity() from None
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class _Follower:
    """The task that keeps `held` up to date. Runs on the background loop."""

    def __init__(self, endpoint: str | Path) -> None:
        self._endpoint = endpoint
        self._is_ours = True
        self._failures = 0
        self._reader = LogReader()
        self.identified = threading.Event()
        self.stopped = threading.Event()
        self.held = StaticSource(
            Snapshot(trust_domain=None, svids=(), bundles={}, reason=f"the agent at {endpoint} has not answered yet")
        )

    async def run(self) -> None:
        try:
            while True:
                await self._follow_once()
                self._failures += 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * float(2 ** min(self._failures - 1, 10)))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        finally:
            self.stopped.set()

    async def _follow_once(self) -> None:
        """One connection, until it ends."""
        try:
            async with WorkloadApiClient(self._endpoint) as api:
                if self._is_ours:
                    await self._attend(api)
                else:
                    await self._fetch(api)
        except UnimplementedError:
            self._is_ours = not self._is_ours
        except RevocationGap as e:
            log.warning("revocations are missing, asking again reason=%s", e)
        except DeniedError as e:
            self._clear(e.message)
        except InbornError as e:
            self._away(e)
        except Exception:
            log.exception("source failed")

    async def _attend(self, api: WorkloadApiClient) -> None:
        revocations = self.held.snapshot().revocations
        self._reader = LogReader()
        stream = await api.attend(revocations.log_id, revocations.seq)
        try:
            async for message in stream:
                self._failures = 0
                match message.WhichOneof("content"):
                    case "identities":
                        self._apply_identities(message.identities)
                    case "revocations":
                        await self._apply_revocations(stream, message.revocations)
                    case "freshness":
                        heard_at = time.monotonic() - message.freshness.age_ms / 1000
                        self.held.touch(dataclasses.replace(self.held.snapshot(), heard_at=heard_at))
        finally:
            stream.cancel()
        raise UnavailableError("the agent ended the stream")

    async def _fetch(self, api: WorkloadApiClient) -> None:
        stream = api.fetch_x509_svid()
        try:
            async for message in stream:
                self._failures = 0
                self._apply_response(message)
        finally:
            stream.cancel()
        raise UnavailableError("the agent ended the stream")

    # -- what arrives --------------------------------------------------------------------------------------------------

    def _apply_identities(self, message: agent_pb2.Identities) -> None:
        if not message.identities:
            reason = message.reason or "the agent gives none"
            # An agent that was restarted without its keys, or has not heard the CA, takes nothing away.
            if message.pending and self._is_usable():
                self._explain(reason)
            else:
                self._clear(reason)
            return
        try:
            trust_domain = parse_trust_domain(message.trust_domain)
            bundles = {
                parse_trust_domain(name): X509Bundle.parse(parse_trust_domain(name), octets)
                for name, octets in message.bundles.items()
            }
            svids = _parse_svids((i.spiffe_id, i.chain, i.key, i.hint) for i in message.identities)
            self._publish(trust_domain, svids, bundles, tuple(message.crls), self.held.snapshot().revocations)
        except InbornError as e:
            self._refuse(e)

    def _apply_response(self, message: workload.X509SVIDResponse) -> None:
        """SPIFFE's own message: each is the whole state, and what it lacks is gone (Workload API 4.4)."""
        try:
            svids = _parse_svids((s.spiffe_id, s.x509_svid, s.x509_svid_key, s.hint) for s in message.svids)
            if not svids:
                raise InvalidSvid("Workload API answered without an SVID")
            bundles: dict[TrustDomain, X509Bundle] = {}
            for name, octets in message.federated_bundles.items():
                if octets:
                    bundles[parse_trust_domain(name)] = X509Bundle.parse(parse_trust_domain(name), octets)
            for svid, wire in zip(svids, message.svids, strict=False):
                trust_domain = svid.spiffe_id.trust_domain
                bundles[trust_domain] = X509Bundle.parse(trust_domain, wire.bundle)
            authorities = [c for svid in svids for c in svid.chain[1:]] + [r for b in bundles.values() for r in b.roots]
            listed = revocations_from_crls(message.crl, authorities)
            revocations = RevocationSet()
            revocations.apply_snapshot(b"crl", len(listed), listed)
            self._publish(svids[0].spiffe_id.trust_domain, svids, bundles, tuple(message.crl), revocations)
        except InbornError as e:
            self._refuse(e)

    async def _apply_revocations(self, stream: AioStream, message: agent_pb2.Revocations) -> None:
        """Apply, let every open connection be looked at, and only then say that it was applied.

        Raises `RevocationGap` when something is missing: the stream is opened anew and begins with a snapshot.
        """
        snapshot = self.held.snapshot()
        revocations = snapshot.revocations
        if message.snapshot or self._reader.is_between:
            shown = self._reader.read(message)
            if shown is None:
                return
            if revocations.log_id not in (b"", shown.log_id, *(log.log_id for log in revocations.logs())):
                log.warning("the CA's database is another one, what was revoked stays log_id=%s", shown.log_id.hex())
            try:
                revocations.apply_log(shown)
            except RevocationGap as e:
                log.warning("agent shows older revocations, what is known stays reason=%s", e)
                return
        else:
            new = [revocation_from_wire(wire) for wire in message.revocations]
            revocations.apply_delta(message.log_id, message.revocation_seq, new, message.dropped)
        self.held.replace(dataclasses.replace(snapshot))
        await acknowledge(stream, revocations.log_id, revocations.seq)

    # -- what is published ---------------------------------------------------------------------------------------------

    def _publish(
        self,
        trust_domain: TrustDomain,
        svids: tuple[X509Svid, ...],
        bundles: Mapping[TrustDomain, X509Bundle],
        crls: tuple[bytes, ...],
        revocations: RevocationSet,
    ) -> None:
        """Verify each SVID against our own bundle, then publish all. Raises what `verify_chain` raises.

        What has not changed stays the same object, so that contexts and channels stay as well.
        """
        now = dt.datetime.now(dt.UTC)
        for svid in svids:
            verify_chain(svid.chain, bundles=bundles, revocations=revocations, authorize=lambda _: True, now=now)
        before = self.held.snapshot()
        if [(s.chain, s.hint) for s in svids] == [(s.chain, s.hint) for s in before.svids]:
            svids = before.svids
        if dict(bundles) == dict(before.bundles):
            bundles = before.bundles
        self.held.replace(
            dataclasses.replace(
                before,
                trust_domain=trust_domain,
                svids=svids,
                bundles=bundles,
                crls=crls,
                revocations=revocations,
                reason="",
            )
        )
        self.identified.set()

    def _clear(self, reason: str) -> None:
        """The agent says that there is no identity (any more)."""
        before = self.held.snapshot()
        if before.svids:
            log.warning("identity withdrawn reason=%s", reason)
        if before.svids or before.reason != reason:
            self.held.replace(dataclasses.replace(before, svids=(), reason=reason))

    def _is_usable(self) -> bool:
        """Whether nothing that is held has expired or is revoked."""
        held, now = self.held.snapshot(), dt.datetime.now(dt.UTC)
        return all(s.facts.not_after > now and held.revocations.find(s.facts) is None for s in held.svids)

    def _refuse(self, error: InbornError) -> None:
        """Something that arrived cannot be used: what is in use stays."""
        log.warning("agent's answer refused reason=%s", error)
        self._explain(f"the agent's answer was refused: {error}")

    def _away(self, error: InbornError) -> None:
        if self._failures == 0:
            log.info("agent is away endpoint=%s reason=%s", self._endpoint, error)
        self._explain(f"the agent at {self._endpoint} does not answer: {error}")

    def _explain(self, reason: str) -> None:
        before = self.held.snapshot()
        if not before.svids:
            self.held.touch(dataclasses.replace(before, reason=reason))


def _has_identity(snapshot: Snapshot) -> bool:
    return bool(snapshot.svids)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[Snapshot], None], snapshot: Snapshot) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(callback, snapshot)


def _parse_svids(parts: Iterable[tuple[str, bytes, bytes, str]]) -> tuple[X509Svid, ...]:
    """SVIDs of (ID, chain, key, hint). A hint that is there already is dropped with its SVID (Workload API 5.2.1)."""
    now = dt.datetime.now(dt.UTC)
    svids: list[X509Svid] = []
    hints: set[str] = set()
    for spiffe_id, chain, key, hint in parts:
        if hint and hint in hints:
            continue
        if len(svids) == _MAX_SVIDS:
            # The first ones are those that say the most about this process; none at all would be worse.
            log.warning("more than %d identities match this process, the rest is left out", _MAX_SVIDS)
            break
        hints.add(hint)
        svid = X509Svid.parse(chain, key, hint=hint, issued_at=now)
        if str(svid.spiffe_id) != spiffe_id:
            raise InvalidSvid(f"SVID of {svid.spiffe_id} was announced as {spiffe_id[:200]!a}")
        svids.append(svid)
    return tuple(svids)
