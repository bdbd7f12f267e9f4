"""What the agent does with the CA's feeds, which `FeedFollower` follows: they go into the cache, to the libraries and
to disk, and what an admin should see becomes an alarm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from inborn._internal.feed.feed_content import DomainUpdate, NodeUpdate
from inborn._internal.feed.feed_verifier import FeedUpdate
from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn.errors import DeniedError, InbornError, UnauthenticatedError
from inborn_agent.ca.reporting import Reporter
from inborn_agent.cache.attendance import Attendance
from inborn_agent.cache.feed_alarms import FeedAlarms
from inborn_agent.cache.outdated import count_outdated
from inborn_agent.counted_events import ALARM_RAISED, FEED_GIVEN_UP
from inborn_agent.disk.feed_values import domain_change, node_change
from inborn_agent.disk.kept_state import KeptState
from inborn_agent.live.live_cache import LiveCache
from inborn_member.feed_follower import FeedFollower, Place
from inborn_member.own_identity import OwnIdentity
from inborn_proto import ca_pb2

__all__ = ["Saver", "Sync"]

_log = get_logger("agent.sync")


class Saver:
    """Writes what has changed to disk, in natural batches: what changes during a write is the next one."""

    def __init__(self, live: LiveCache, state: KeptState, saved: asyncio.Event) -> None:
        """`saved` is set after each write of the domain's."""
        self._live = live
        self._state = state
        self.domain_saved = live.cache.domain_mark
        self.seq_saved = live.cache.revocations.seq
        self._saved = saved

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
            self._saved.set()

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
    """A `Subscriber`, and what follows. Belongs to one event loop. `acknowledged` is set by whoever changes what is
    acknowledged: the attendance, the saver."""

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
        self._metrics = metrics
        self.alarms = FeedAlarms()
        self._reporter = Reporter(live, own)
        self._follower = FeedFollower("agent", own, self, acknowledged, clock=live.now, spread=spread)

    @property
    def is_connected(self) -> bool:
        return self._follower.is_connected

    @property
    def revocations(self) -> RevocationSet:
        return self._live.cache.revocations

    async def run(self) -> None:
        """Follow until cancelled."""
        reporting = asyncio.create_task(self._reporter.run())
        try:
            await self._follower.run()
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    def place(self, member: SpiffeId | None) -> Place:
        cache = self._live.cache
        log_id, domain_revision = cache.domain_mark
        # Entries of another log, or of the agent that this one was before it was enrolled anew, are not the beginning.
        is_ours = cache.node_mark[0] == log_id and cache.node == member
        return Place(
            node=member,
            log_id=log_id,
            domain_revision=domain_revision,
            node_revision=cache.node_mark[1] if is_ours else 0,
        )

    async def apply(self, update: FeedUpdate) -> None:
        match update.content:
            case DomainUpdate():
                self._apply_domain(update, update.content)
            case NodeUpdate():
                self._apply_node(update, update.content)
            case _:
                pass  # known already

    def _apply_domain(self, update: FeedUpdate, content: DomainUpdate) -> None:
        cache = self._live.cache
        self._live.apply_domain(domain_change(update, content))
        self._attendance.published(cache.revocations.log_id, cache.revocations.seq, self._live.now())
        self._own.trust(content.bundle, cache.revocations.log_id)
        if content.snapshot:
            self._reporter.look()

    def _apply_node(self, update: FeedUpdate, content: NodeUpdate) -> None:
        change, problems = node_change(update, content, self._live.cache.trust_domain)
        for problem in problems:
            _log.warning("entry.ignored", reason=problem)
        self._live.apply_node(change)
        _log.event("entries.applied", revision=update.revision, entries=len(self._live.cache.entries))

    def is_outdated(self, facts: CertificateFacts) -> bool:
        return self._live.cache.is_outdated(facts)

    def heard(self, monotonic: float) -> None:
        self._live.heard(monotonic)

    def connected(self) -> None:
        self._live.reconnected()

    def ended(self, error: InbornError) -> None:
        self._metrics.count(FEED_GIVEN_UP, kind=error.kind)
        if isinstance(error, DeniedError) and not isinstance(error, UnauthenticatedError):
            self._reporter.look(is_unknown=True)

    def alarm(self, kind: str, message: str) -> None:
        self.alarms.sound(kind, message, self._live.now())
        self._metrics.count(ALARM_RAISED, kind=kind)

    def ack(self, stream: X509Svid | None) -> ca_pb2.WatchAck | None:
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
                stream=stream.facts if stream is not None else None,
            ),
        )

    def ack_changes_in(self) -> float | None:
        now = self._live.now()
        deadline = self._attendance.next_deadline(now)
        return None if deadline is None else max(0.0, (deadline - now).total_seconds())
