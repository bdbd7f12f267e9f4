"""Following the CA: one stream, two feeds. Verify, apply, tell the libraries, keep, acknowledge.

A stream that breaks, falls silent (no heartbeat in time) or shows a gap is opened again, from what has been applied;
where that does not help, from nothing, which brings snapshots. What does not verify is dropped together with the
stream that it came on, and nothing of it is applied; it is an alarm, and so is another log.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable

from inborn._internal.feed.feed_content import DomainUpdate, Heartbeat, NodeUpdate
from inborn._internal.feed.feed_verifier import FeedGap, FeedUpdate, FeedVerifier
from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationGap
from inborn._internal.spiffe.rotation import retry_delay
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError, InbornError, UnauthenticatedError, UnavailableError
from inborn_agent.ca.own_identity import OwnIdentity
from inborn_agent.ca.reporting import Reporter
from inborn_agent.cache.attendance import Attendance
from inborn_agent.cache.feed_alarms import FeedAlarms
from inborn_agent.cache.outdated import count_outdated
from inborn_agent.counted_events import ALARM_RAISED, FEED_GIVEN_UP
from inborn_agent.disk.feed_values import domain_change, node_change
from inborn_agent.disk.kept_state import KeptState
from inborn_agent.live.live_cache import LiveCache
from inborn_member.authority_client import AuthorityClient, WatchStream
from inborn_proto import ca_pb2, feed_pb2

__all__ = ["Saver", "Sync"]

_log = get_logger("agent.sync")

_FIRST_SILENCE = dt.timedelta(seconds=30)
"""How long a stream may say nothing before its first heartbeat has said when the next one comes."""

_LONGEST_PAUSE = dt.timedelta(seconds=5)
"""Between two attempts: a CA that is back is noticed soon, and one that is away is not flooded."""

_MISSED_BEATS = 3  # heartbeats in a row that may be lost to a busy machine
_SHORTEST_SILENCE = dt.timedelta(seconds=2)

_RENEWING_STEP = 0.1  # seconds between looks at what is still to be renewed, while the CA waits for that


class Saver:
    """Writes what has changed to disk, in natural batches: what changes during a write is the next one."""

    def __init__(self, live: LiveCache, state: KeptState) -> None:
        self._live = live
        self._state = state
        self.domain_saved = live.cache.domain_mark
        self.seq_saved = live.cache.revocations.seq
        self.saved = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._run_domain(), self._run_node())

    async def _run_domain(self) -> None:
        while True:
            await self._live.domain_changed.wait()
            self._live.domain_changed.clear()
            mark, seq = self._live.cache.domain_mark, self._live.cache.revocations.seq
            octets = self._state.domain_bytes(self._live.cache)
            try:
                await asyncio.to_thread(self._state.save_domain, octets)
            except InbornError as error:
                # Applied it is, and that is what an acknowledgement says; the warning says the rest.
                _log.warning("cache.not_saved", reason=error.message)
            self.domain_saved, self.seq_saved = mark, seq
            self.saved.set()

    async def _run_node(self) -> None:
        while True:
            await self._live.node_changed.wait()
            self._live.node_changed.clear()
            octets = self._state.node_bytes(self._live.cache)
            try:
                await asyncio.to_thread(self._state.save_node, octets)
            except InbornError as error:
                _log.warning("cache.not_saved", reason=error.message)


class Sync:
    """Belongs to one event loop. `acknowledged` is set by whoever changes the attendance."""

    def __init__(
        self,
        live: LiveCache,
        own: OwnIdentity,
        saver: Saver,
        attendance: Attendance,
        acknowledged: asyncio.Event,
        metrics: Metrics,
        *,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._live = live
        self._own = own
        self._saver = saver
        self._attendance = attendance
        self._acknowledged = acknowledged
        self._metrics = metrics
        self._spread = spread
        self.alarms = FeedAlarms()
        self._reporter = Reporter(live, own)
        self._verifier: FeedVerifier | None = None
        self._silence = _FIRST_SILENCE
        self._beat = _FIRST_SILENCE
        self._stream_svid: X509Svid | None = None
        """What the stream's connection was opened with."""
        self.is_connected = False

    async def run(self) -> None:
        """Follow until cancelled."""
        reporting = asyncio.create_task(self._reporter.run())
        try:
            await self._run()
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _run(self) -> None:
        failures = gaps = 0
        while True:
            client = await self._own.client()
            try:
                await self._follow(client, from_nothing=gaps > 1)
            except InbornError as error:
                failures = 1 if self.is_connected else failures + 1
                gaps = gaps + 1 if isinstance(error, FeedGap | RevocationGap) else 0
                self._metrics.count(FEED_GIVEN_UP, kind=error.kind)
                _log.warning("feed.ended", kind=error.kind, reason=error.message, failures=failures)
                if isinstance(error, UnauthenticatedError):
                    self._own.refused(error)
                elif isinstance(error, DeniedError):
                    self._reporter.look(is_unknown=True)
                elif isinstance(error, UnavailableError) and failures > 1:
                    await self._own.relocate()
            finally:
                self.is_connected = False
            pause = min(_LONGEST_PAUSE, retry_delay(failures, remaining=dt.timedelta(0), spread=self._spread()))
            await asyncio.sleep(pause.total_seconds())

    async def _follow(self, client: AuthorityClient, *, from_nothing: bool) -> None:
        """One stream, from its beginning to its end, which is always an error."""
        self._stream_svid = self._own.svid
        node = self._stream_svid.spiffe_id if self._stream_svid is not None else None
        verifier = self._placed(node)
        stream = await client.watch(
            log_id=b"" if from_nothing else verifier.log_id,
            domain_revision=0 if from_nothing else verifier.domain_revision,
        )
        self._silence = _FIRST_SILENCE
        acking = asyncio.create_task(self._acknowledge(stream))
        try:
            while True:
                message = await self._next(stream)
                self._check_connection()
                try:
                    await self._receive(verifier, message)
                except InbornError as error:
                    self._alarm(error.kind, error.message)
                    raise
                if not self.is_connected:
                    self.is_connected = True
                    _log.event("feed.connected", ca=client.address)
                    self._live.reconnected()
        finally:
            stream.cancel()
            acking.cancel()
            await asyncio.gather(acking, return_exceptions=True)

    def _placed(self, node: SpiffeId | None) -> FeedVerifier:
        """The verifier, standing at what has been applied. It is kept, because it knows the latest message's time."""
        cache = self._live.cache
        if self._verifier is None or self._verifier.node != node:
            self._verifier = FeedVerifier(trust_domain=cache.trust_domain, node=node)
        log_id, domain_revision = cache.domain_mark
        # Entries of another log, or of the agent that this one was before it was enrolled anew, are not the beginning.
        is_ours = cache.node_mark[0] == log_id and cache.node == node
        self._verifier.log_id = log_id
        self._verifier.domain_revision = domain_revision
        self._verifier.node_revision = cache.node_mark[1] if is_ours else 0
        return self._verifier

    def _check_connection(self) -> None:
        """A connection dies with the certificate that it was opened with: leave it while there is another one."""
        former, own = self._stream_svid, self._own.svid
        if former is None or own is None or former is own:
            return
        cache = self._live.cache
        if cache.is_outdated(former.facts) and not cache.is_outdated(own.facts):
            raise UnavailableError("the stream was opened with a certificate of an authority that is to be revoked")

    async def _next(self, stream: WatchStream) -> feed_pb2.FeedMessage:
        try:
            async with asyncio.timeout(self._silence.total_seconds()):
                return await anext(stream)
        except TimeoutError as error:
            raise UnavailableError(f"the CA said nothing for {self._silence.total_seconds():g} s") from error

    async def _receive(self, verifier: FeedVerifier, message: feed_pb2.FeedMessage) -> None:
        cache = self._live.cache
        bundle = self._own.source.snapshot().bundles[cache.trust_domain]
        update = verifier.receive(message, bundle=bundle, revocations=cache.revocations, now=self._live.now())
        match update.content:
            case DomainUpdate() if update.is_new:
                self._apply_domain(update, update.content)
            case NodeUpdate() if update.is_new:
                self._apply_node(update, update.content)
            case Heartbeat(interval=interval):
                self._beat = interval
                self._silence = max(interval * _MISSED_BEATS, _SHORTEST_SILENCE)
                if update.content.revocation_seq > cache.revocations.seq and update.is_fresh:
                    raise FeedGap(
                        f"the CA has {update.content.revocation_seq} revocations, known are {cache.revocations.seq}"
                    )
            case _:
                pass  # known already
        if update.is_fresh:
            self._live.heard(time.monotonic())

    def _apply_domain(self, update: FeedUpdate, content: DomainUpdate) -> None:
        cache = self._live.cache
        before, log_before = cache.revocations.seq, cache.revocations.log_id
        self._live.apply_domain(domain_change(update, content))
        if log_before not in (b"", update.log_id):
            former = sum(len(log) for log in cache.revocations.logs() if log.log_id != update.log_id)
            self._alarm(
                "LogChanged",
                f"the CA has another database, log {update.log_id.hex()} after {log_before.hex()}: it was restored or "
                f"replaced; {former} revocations that it may not know hold",
            )
        now = self._live.now()
        self._attendance.published(cache.revocations.log_id, cache.revocations.seq, now)
        self._own.trust(cache.bundle, cache.revocations.log_id)
        if content.snapshot:
            self._reporter.look()
        if self._own.svid is not None and cache.is_outdated(self._own.svid.facts):
            self._own.rotate()
        self._acknowledged.set()
        if cache.revocations.seq != before:
            _log.event("revocations.applied", revocation_seq=cache.revocations.seq, revocations=len(cache.revocations))

    def _alarm(self, kind: str, message: str) -> None:
        self.alarms.sound(kind, message, self._live.now())
        self._metrics.count(ALARM_RAISED, kind=kind)
        _log.warning("feed.alarm", kind=kind, reason=message)

    def _apply_node(self, update: FeedUpdate, content: NodeUpdate) -> None:
        change, problems = node_change(update, content, self._live.cache.trust_domain)
        for problem in problems:
            _log.warning("entry.ignored", reason=problem)
        self._live.apply_node(change)
        self._acknowledged.set()
        _log.event("entries.applied", revision=update.revision, entries=len(self._live.cache.entries))

    async def _acknowledge(self, stream: WatchStream) -> None:
        """Tell the CA how far we and the libraries are: when that is something else than before, and now and then.

        A sign of life is answered after one to two of its intervals, so that a thousand agents do not answer at once.
        """
        last: ca_pb2.WatchAck | None = None
        beats, next_beat = self._live.beats, time.monotonic()
        while True:
            self._acknowledged.clear()
            self._saver.saved.clear()
            ack = self._ack()
            is_due = self._live.beats != beats and time.monotonic() >= next_beat
            if ack is not None and (ack != last or is_due):
                try:
                    await stream.ack(ack)
                except InbornError:
                    return  # the stream has ended, whoever reads it says why
                last, beats = ack, self._live.beats
                next_beat = time.monotonic() + self._beat.total_seconds() * (1 + self._spread())
            pause = max(0.0, next_beat - time.monotonic()) or self._beat.total_seconds()
            await self._until_ack_may_change(_RENEWING_STEP if ack is not None and ack.outdated else pause)

    def _ack(self) -> ca_pb2.WatchAck | None:
        """None while what is kept on disk belongs to another log than what has been applied."""
        cache = self._live.cache
        report = self._attendance.report(self._live.now())
        log_id, domain_revision = self._saver.domain_saved
        if not log_id or log_id != cache.revocations.log_id:
            return None
        return ca_pb2.WatchAck(
            domain_revision=domain_revision,
            revocation_seq=min(report.revocation_seq, self._saver.seq_saved),
            laggards=report.laggards,
            log_id=log_id,
            outdated=count_outdated(
                cache,
                own=self._own.svid.facts if self._own.svid is not None else None,
                stream=self._stream_svid.facts if self._stream_svid is not None else None,
            ),
        )

    async def _until_ack_may_change(self, pause: float) -> None:
        now = self._live.now()
        deadline = self._attendance.next_deadline(now)
        if deadline is not None:
            pause = min(pause, max(0.0, (deadline - now).total_seconds()))
        waits: list[Awaitable[object]] = [self._acknowledged.wait(), self._saver.saved.wait()]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
