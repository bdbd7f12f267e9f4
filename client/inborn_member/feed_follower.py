"""Following the CA's feeds on one stream: verify, have it applied, acknowledge. The one under the agent and under a
daemon without one; a `Subscriber` is what the changes are applied to.

A stream that breaks, falls silent (no heartbeat in time) or shows a gap is opened again, from what has been applied;
where that does not help, from nothing, which brings snapshots. What does not verify is dropped together with the stream
that it came on, and nothing of it is applied; it is an alarm, and so is another log.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from inborn._internal.feed.feed_content import Heartbeat
from inborn._internal.feed.feed_verifier import FeedGap, FeedUpdate, FeedVerifier
from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationGap, RevocationSet
from inborn._internal.spiffe.rotation import retry_delay
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn.errors import InbornError, UnauthenticatedError, UnavailableError
from inborn_member.authority_client import AuthorityClient, WatchStream
from inborn_member.own_identity import Clock, OwnIdentity, utc_now
from inborn_proto import ca_pb2, feed_pb2

__all__ = ["FeedFollower", "Place", "Subscriber"]

_FIRST_SILENCE = dt.timedelta(seconds=30)
"""How long a stream may say nothing before its first heartbeat has said when the next one comes."""

_LONGEST_PAUSE = dt.timedelta(seconds=5)
"""Between two attempts: a CA that is back is noticed soon, and one that is away is not flooded."""

_MISSED_BEATS = 3  # heartbeats in a row that may be lost to a busy machine
_SHORTEST_SILENCE = dt.timedelta(seconds=2)

_RENEWING_STEP = 0.1  # seconds between looks at what is still to be renewed, while the CA waits for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Up to where the feeds have been applied. Without a node there is the domain feed alone."""

    node: SpiffeId | None = None
    log_id: bytes = b""
    domain_revision: int = 0
    node_revision: int = 0


class Subscriber(Protocol):
    """What the feeds' changes are applied to. All calls come on the follower's event loop."""

    @property
    def revocations(self) -> RevocationSet:
        """The live set, by which the next message is judged."""
        ...

    def place(self, member: SpiffeId | None) -> Place:
        """What has been applied, by this member."""
        ...

    async def apply(self, update: FeedUpdate) -> None:
        """Take in what is new. Raises `RevocationGap` and `InvalidMessage`, and changes nothing then."""
        ...

    def is_outdated(self, facts: CertificateFacts) -> bool:
        """Whether its authority is to be revoked: the certificate is to be renewed at once."""
        ...

    def heard(self, monotonic: float) -> None:
        """The CA has been heard now."""
        ...

    def connected(self) -> None:
        """A stream has brought its first message."""
        ...

    def ended(self, error: InbornError) -> None:
        """The stream has ended, or could not be opened."""
        ...

    def alarm(self, kind: str, message: str) -> None:
        """It was shown what no honest CA shows."""
        ...

    def ack(self, stream: X509Svid | None) -> ca_pb2.WatchAck | None:
        """What to acknowledge now, on a stream that was opened with this certificate; None: nothing yet."""
        ...

    def ack_changes_in(self) -> float | None:
        """In how many seconds `ack` may say something else by itself; None: it will not."""
        ...


class FeedFollower:
    """Belongs to one event loop. `changed` is set where `ack` may say something else."""

    def __init__(
        self,
        kind: str,
        own: OwnIdentity,
        subscriber: Subscriber,
        changed: asyncio.Event,
        *,
        clock: Clock = utc_now,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._log = get_logger(f"{kind}.sync")
        self._own = own
        self._subscriber = subscriber
        self._changed = changed
        self._now = clock
        self._spread = spread
        self._verifier: FeedVerifier | None = None
        self._silence = self._beat = _FIRST_SILENCE
        self._beats = 0
        self._stream_svid: X509Svid | None = None
        """What the stream's connection was opened with."""
        self._disbelieved: InbornError | None = None
        """Why the last message that was not believed was not: that says nothing of our own certificate."""
        self.is_connected = False

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = gaps = 0
        told = ""
        while True:
            client = await self._own.client()
            try:
                await self._follow(client, from_nothing=gaps > 1)
            except InbornError as error:
                failures = 1 if self.is_connected else failures + 1
                gaps = gaps + 1 if isinstance(error, FeedGap | RevocationGap) else 0
                self._subscriber.ended(error)
                if failures == 1 or told != error.message:  # it is tried again and again
                    self._log.warning("feed.ended", kind=error.kind, reason=error.message, failures=failures)
                told = error.message
                if isinstance(error, UnauthenticatedError) and error is not self._disbelieved:
                    self._own.refused(error)
                elif isinstance(error, UnavailableError) and failures > 1:
                    await self._own.relocate()
            finally:
                self.is_connected = False
            pause = min(_LONGEST_PAUSE, retry_delay(failures, remaining=dt.timedelta(0), spread=self._spread()))
            await asyncio.sleep(pause.total_seconds())

    async def _follow(self, client: AuthorityClient, *, from_nothing: bool) -> None:
        """One stream, from its beginning to its end, which is always an error."""
        self._stream_svid = self._own.svid
        verifier = self._placed()
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
                    self._disbelieved = error
                    self._alarm(error.kind, error.message)
                    raise
                if not self.is_connected:
                    self.is_connected = True
                    self._log.event("feed.connected", ca=client.address)
                    self._subscriber.connected()
        finally:
            stream.cancel()
            acking.cancel()
            await asyncio.gather(acking, return_exceptions=True)

    def _placed(self) -> FeedVerifier:
        """The verifier, standing at what has been applied. It is kept, because it knows the latest message's time."""
        place = self._subscriber.place(self._own.svid.spiffe_id if self._own.svid is not None else None)
        if self._verifier is None or self._verifier.node != place.node:
            self._verifier = FeedVerifier(trust_domain=self._own.trust_domain, node=place.node)
        self._verifier.log_id = place.log_id
        self._verifier.domain_revision = place.domain_revision
        self._verifier.node_revision = place.node_revision
        return self._verifier

    def _check_connection(self) -> None:
        """A connection dies with the certificate that it was opened with: leave it while there is another one."""
        former, own = self._stream_svid, self._own.svid
        if former is None or own is None or former is own:
            return
        if self._subscriber.is_outdated(former.facts) and not self._subscriber.is_outdated(own.facts):
            raise UnavailableError("the stream was opened with a certificate of an authority that is to be revoked")

    async def _next(self, stream: WatchStream) -> feed_pb2.FeedMessage:
        try:
            async with asyncio.timeout(self._silence.total_seconds()):
                return await anext(stream)
        except TimeoutError as error:
            raise UnavailableError(f"the CA said nothing for {self._silence.total_seconds():g} s") from error

    async def _receive(self, verifier: FeedVerifier, message: feed_pb2.FeedMessage) -> None:
        revocations = self._subscriber.revocations
        update = verifier.receive(
            message,
            bundle=self._own.source.snapshot().bundles[self._own.trust_domain],
            revocations=revocations,
            now=self._now(),
        )
        if update.is_new:
            await self._apply(update, revocations)
        if isinstance(update.content, Heartbeat):
            self._beat = update.content.interval
            self._silence = max(self._beat * _MISSED_BEATS, _SHORTEST_SILENCE)
            if update.content.revocation_seq > revocations.seq and update.is_fresh:
                raise FeedGap(f"the CA has {update.content.revocation_seq} revocations, known are {revocations.seq}")
        if update.is_fresh:
            self._beats += 1
            self._subscriber.heard(time.monotonic())

    async def _apply(self, update: FeedUpdate, revocations: RevocationSet) -> None:
        before, log_before = revocations.seq, revocations.log_id
        await self._subscriber.apply(update)
        if log_before not in (b"", revocations.log_id):
            former = sum(len(log) for log in revocations.logs() if log.log_id != revocations.log_id)
            self._alarm(
                "LogChanged",
                f"the CA has another database, log {revocations.log_id.hex()} after {log_before.hex()}: it was restored"
                f" or replaced; {former} revocations that it may not know hold",
            )
        own = self._own.svid
        if update.node is None and own is not None and self._subscriber.is_outdated(own.facts):
            self._own.rotate()
        self._changed.set()
        if revocations.seq != before:
            self._log.event("revocations.applied", revocation_seq=revocations.seq, revocations=len(revocations))

    def _alarm(self, kind: str, message: str) -> None:
        self._log.warning("feed.alarm", kind=kind, reason=message)
        self._subscriber.alarm(kind, message)

    async def _acknowledge(self, stream: WatchStream) -> None:
        """Tell the CA how far we are: when that is something else than before, and now and then.

        A sign of life is answered after one to two of its intervals, so that a thousand members do not answer at once.
        """
        last: ca_pb2.WatchAck | None = None
        beats, next_beat = self._beats, time.monotonic()
        while True:
            self._changed.clear()
            ack = self._subscriber.ack(self._stream_svid)
            is_due = self._beats != beats and time.monotonic() >= next_beat
            if ack is not None and (ack != last or is_due):
                try:
                    await stream.ack(ack)
                except InbornError:
                    return  # the stream has ended, whoever reads it says why
                last, beats = ack, self._beats
                next_beat = time.monotonic() + self._beat.total_seconds() * (1 + self._spread())
            pause = max(0.0, next_beat - time.monotonic()) or self._beat.total_seconds()
            await self._until_ack_may_change(_RENEWING_STEP if ack is not None and ack.outdated else pause)

    async def _until_ack_may_change(self, pause: float) -> None:
        soon = self._subscriber.ack_changes_in()
        try:
            async with asyncio.timeout(pause if soon is None else min(pause, soon)):
                await self._changed.wait()
        except TimeoutError:
            pass
