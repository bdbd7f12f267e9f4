"""Fan-out of the feeds to all open Watch streams.

Theory of operation. A message is serialized once and put, as the same bytes, into a queue for each stream that it is
for. A queue is bounded: a stream whose caller does not read loses its queue and is marked for a resync, which costs
nobody else anything; when its caller reads again it gets fresh snapshots. While a stream waits for snapshots, what is
published meanwhile is held and follows them: so nothing is missed, and what comes twice has a revision that says so.

    filling --release--> live --overflow--> behind --fill--> filling       any state --end--> ended
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

from inborn._internal.host.log import get_logger
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import InbornError, PreconditionError, UnauthenticatedError, UnavailableError
from inborn_ca.front.caller import Caller, CallerReader
from inborn_ca.front.known_domain import KnownDomain, MissedMessage
from inborn_ca.link.link import Link
from inborn_proto import ca_pb2, feed_pb2, signer_pb2

__all__ = ["FeedHub", "Stream", "fetch_snapshot"]

MAX_QUEUED = 256  # messages a stream: what a caller that is busy for some seconds has to catch up on
SNAPSHOT_TIMEOUT = 30.0  # seconds, each of its parts
_SNAPSHOT_TRIES = 5
MAX_STREAMS_A_CALLER = 4  # an agent has one, two while it reconnects; a lost connection is noticed after minutes

_SIGNING = "/inborn.signer.v1.Signing/"

log = get_logger("ca.feeds")


class _State(Enum):
    FILLING = 1
    LIVE = 2
    BEHIND = 3


class Stream:
    """One Watch stream: what still has to be written to it."""

    def __init__(self, caller: Caller, spiffe_id: SpiffeId) -> None:
        self.caller = caller
        self.spiffe_id = spiffe_id
        self.acked_revision = 0
        self.ended: asyncio.Future[InbornError | None] = asyncio.get_running_loop().create_future()
        self._state = _State.FILLING
        self._queue: deque[bytes] = deque()
        self._wakeup = asyncio.Event()

    @property
    def queued(self) -> int:
        """How many messages wait to be read."""
        return len(self._queue)

    def offer(self, octets: bytes) -> bool:
        """Queue a message; False: the caller has fallen behind with this one."""
        if self._state is _State.BEHIND:
            return True
        self._queue.append(octets)
        if self._state is _State.LIVE:
            self._wakeup.set()
        if len(self._queue) <= MAX_QUEUED:
            return True
        if self._state is _State.LIVE:
            self._queue.clear()
            self._state = _State.BEHIND
            self._wakeup.set()
        else:  # more came during one round trip to the signer than a queue holds
            self.end(UnavailableError("stream has fallen behind", hint="open it again"))
        return False

    def hold(self) -> None:
        """What is offered from now on waits for `release`."""
        self._state = _State.FILLING
        self._queue.clear()

    def release(self, first: list[bytes]) -> None:
        """These go out, then what was held."""
        self._queue.extendleft(reversed(first))
        self._state = _State.LIVE
        self._wakeup.set()

    async def next(self) -> bytes | None:
        """The next message to write; None: the stream has fallen behind and must be filled again."""
        while True:
            if self._state is _State.BEHIND:
                return None
            if self._state is _State.LIVE and self._queue:
                return self._queue.popleft()
            self._wakeup.clear()
            await self._wakeup.wait()

    def end(self, error: InbornError | None) -> None:
        """Let the stream end with this error, or well."""
        if not self.ended.done():
            self.ended.set_result(error)


async def fetch_snapshot(link: Link) -> tuple[feed_pb2.FeedMessage, ...]:
    """The domain feed's whole state from the signer, in as many messages as it has."""
    for _ in range(_SNAPSHOT_TRIES):
        request, messages = signer_pb2.DomainSnapshotRequest(), list[feed_pb2.FeedMessage]()
        try:
            while True:
                method = _SIGNING + "DomainSnapshot"
                messages.append(await link.call(method, request, feed_pb2.FeedMessage, SNAPSHOT_TIMEOUT))
                update = feed_pb2.FeedBody.FromString(messages[-1].body).domain
                if not update.more:
                    return tuple(messages)
                request = signer_pb2.DomainSnapshotRequest(snapshot_id=update.snapshot_id, part=update.part + 1)
        except PreconditionError:  # it was replaced twice while we fetched it
            log.event("snapshot.replaced", part=request.part)
    raise UnavailableError("the domain changes faster than its state can be fetched")


class FeedHub:
    """All streams, and what the signer publishes to them. Used on the event loop alone."""

    def __init__(self, link: Link, domain: KnownDomain, callers: CallerReader) -> None:
        self._link = link
        self._domain = domain
        self._callers = callers
        self._streams: dict[str, list[Stream]] = {}  # by SPIFFE ID
        self._snapshot: tuple[tuple[int, tuple[bytes, ...]], asyncio.Task[tuple[bytes, ...]]] | None = None
        self._refresh: asyncio.Task[None] | None = None
        self.resyncs = 0

    def streams(self) -> list[Stream]:
        return [stream for streams in self._streams.values() for stream in streams]

    # -- streams -----------------------------------------------------------------------------------------------------

    def register(self, caller: Caller, spiffe_id: SpiffeId) -> Stream:
        """A new stream; the oldest one of a caller that has too many is ended."""
        stream = Stream(caller, spiffe_id)
        own = self._streams.setdefault(str(spiffe_id), [])
        own.append(stream)
        if len(own) > MAX_STREAMS_A_CALLER:
            own[0].end(UnavailableError(f"{spiffe_id} has opened {MAX_STREAMS_A_CALLER} newer streams"))
        return stream

    def unregister(self, stream: Stream) -> None:
        """The stream has ended; the signer is told when it was its caller's last one."""
        own = self._streams.get(str(stream.spiffe_id), [])
        if stream in own:
            own.remove(stream)
        if not own and self._streams.pop(str(stream.spiffe_id), None) is not None:
            # A notice, because it leaves at once: a later OpenNodeFeed of the same caller cannot overtake it.
            self._link.notify(_SIGNING + "CloseNodeFeed", signer_pb2.NodeFeedRequest(spiffe_id=str(stream.spiffe_id)))

    async def fill(self, stream: Stream, hello: ca_pb2.WatchHello | None) -> None:
        """Bring a stream up to now: from where its caller was, or from snapshots; the domain's feed comes first."""
        stream.hold()
        known = self._domain.since(hello.log_id, hello.domain_revision) if hello is not None else None
        heartbeat = [self._domain.heartbeat] if self._domain.heartbeat else []
        request = signer_pb2.NodeFeedRequest(spiffe_id=str(stream.spiffe_id))
        node = await self._link.call(_SIGNING + "OpenNodeFeed", request, feed_pb2.FeedMessage)  # it may refuse
        domain = list(await self._domain_snapshot()) if known is None else known + heartbeat
        octets = node.SerializeToString()
        stream.release([*domain, octets] if stream.caller.is_agent else domain)
        for other in self._streams.get(str(stream.spiffe_id), []):
            if other is not stream and other.caller.is_agent:
                self._offer(other, octets)  # its next message follows on this one

    async def _domain_snapshot(self) -> tuple[bytes, ...]:
        """One for all who need it at this revision, signed under the present log certificate."""
        at = (self._domain.revision, self._domain.log_chain)
        if self._snapshot is None or self._snapshot[0] != at or _failed(self._snapshot[1]):
            self._snapshot = (at, asyncio.create_task(self._fetch_snapshot()))
        return await asyncio.shield(self._snapshot[1])

    async def _fetch_snapshot(self) -> tuple[bytes, ...]:
        return tuple(message.SerializeToString() for message in await fetch_snapshot(self._link))

    # -- what the signer says ----------------------------------------------------------------------------------------

    def publish(self, publication: signer_pb2.Publication) -> None:
        """Pass a message on to everybody whom it is for."""
        octets = publication.message.SerializeToString()
        if publication.node:
            for stream in self._streams.get(publication.node, []):
                if stream.caller.is_agent:
                    self._offer(stream, octets)
            return
        try:
            revocations = self._domain.apply(publication.message, octets)
        except MissedMessage as e:
            log.warning("domain.missed", error=e.message)
            if self._refresh is None or self._refresh.done():
                self._refresh = asyncio.create_task(self.refresh())
            return
        for stream in self.streams():
            self._offer(stream, octets)
        if revocations:
            self.sweep()

    async def refresh(self) -> None:
        """Take the domain's whole state from the signer, and let every stream begin anew."""
        messages = await fetch_snapshot(self._link)
        self._domain.restore(messages)
        self._snapshot = None
        for octets in [message.SerializeToString() for message in messages]:
            for stream in self.streams():
                self._offer(stream, octets)
        self.sweep()

    def disconnect(self, spiffe_id: str) -> None:
        """The signer says that this caller's certificate is dead: judge its streams anew."""
        self.sweep()
        for stream in self._streams.get(spiffe_id, []):
            stream.end(UnauthenticatedError(f"the CA does not accept the certificate of {spiffe_id} any more"))

    def sweep(self) -> None:
        """End the streams whose callers' certificates have expired or are revoked."""
        for stream in self.streams():
            if stream.caller.facts is not None:
                try:
                    self._callers.check_current(stream.caller.facts)
                except InbornError as e:
                    stream.end(e)

    def end_all(self, error: InbornError) -> None:
        for stream in self.streams():
            stream.end(error)

    def _offer(self, stream: Stream, octets: bytes) -> None:
        if not stream.offer(octets):
            self.resyncs += 1
            log.event("stream.behind", caller=stream.spiffe_id, origin=stream.caller.origin)


def _failed(task: asyncio.Task[tuple[bytes, ...]]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
