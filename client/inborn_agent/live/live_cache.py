"""The cache in an event loop: subscriptions that are told, timers that fire, dropped SVIDs that leave the disk."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Callable, Iterable

from inborn._internal.host.log import get_logger
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import InbornError
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.slots import Effects, Held, View, Want
from inborn_agent.disk.svid_store import SvidStore

__all__ = ["LiveCache", "Subscription"]

_log = get_logger("agent.cache")

# Timers look at the clock at least this often, so that a clock that was set is noticed.
_LONGEST_SLEEP = dt.timedelta(seconds=5)
# And not more often than this, however many certificates end one after the other.
_SHORTEST_SLEEP = dt.timedelta(milliseconds=10)

# Whoever is looked at again without an occasion is so with a sign of life of the CA, and not more often than this.
_LOOK_AGAIN = 1.0  # seconds

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


class Subscription:
    """One attested caller that follows its identities.

    `changed` is set when there may be something to tell it, `version` rises when `view` may show something else.
    """

    def __init__(self, live: LiveCache, number: int) -> None:
        self.number = number
        self.changed = asyncio.Event()
        self.version = 0
        self._live = live

    def attested(self, selectors: frozenset[Selector]) -> None:
        """The caller was attested (again) with these selectors."""
        self._live.attested(self, selectors)

    def view(self) -> View[X509Svid]:
        """What it may have now."""
        return self._live.cache.view(self.number, self._live.now())

    def close(self) -> None:
        self._live.closed(self)


class LiveCache:
    """Belongs to one event loop. `run` drives the timers."""

    def __init__(self, cache: Cache, store: SvidStore, *, clock: Clock = utc_now) -> None:
        self.cache = cache
        self.now = clock
        self.due = asyncio.Event()
        """Set when there may be something to ask the CA for."""
        self.domain_changed = asyncio.Event()
        """Set after each change of bundle, authorities or revocations; whoever saves it clears it."""
        self.node_changed = asyncio.Event()
        """The same for the entries."""
        self.node_applied = asyncio.Event()
        """Set with each change of the entries, for whoever waits for the first one."""
        self.knows_entries = False
        """Whether the CA has said since the start which entries there are: what was kept may lack the newest ones."""
        self.look_again = asyncio.Event()
        """Set now and then: whoever watches processes beside the subscriptions looks at them again, and clears it."""
        self.is_stopping = False
        self.is_suspended: Callable[[], bool] = lambda: False
        """Whether the agent's own certificate is revoked: it hears of nothing any more, and gives nothing out."""
        self.beats = 0
        """How often the CA has been heard since the start."""
        self.heard_at: float | None = None
        """When it was heard last, on the monotonic clock."""
        self._restless_at: float | None = None
        self._store = store
        self._numbers = itertools.count(1)
        self._subscriptions: dict[int, Subscription] = {}
        self._followers: set[Subscription] = set()
        self._timer = asyncio.Event()

    def subscribe(self, selectors: frozenset[Selector]) -> Subscription:
        """Follow the identities of a caller that has been attested with these selectors."""
        subscription = Subscription(self, next(self._numbers))
        self._subscriptions[subscription.number] = subscription
        self.attested(subscription, selectors)
        return subscription

    def attested(self, subscription: Subscription, selectors: frozenset[Selector]) -> None:
        """See `Subscription.attested`."""
        self._carry_out(self.cache.subscribe(subscription.number, selectors, self.now()))

    def closed(self, subscription: Subscription) -> None:
        """See `Subscription.close`."""
        self._followers.discard(subscription)
        if self._subscriptions.pop(subscription.number, None) is not None:
            self.cache.unsubscribe(subscription.number, self.now())

    def follow_domain(self, subscription: Subscription) -> None:
        """From now on `changed` is set with every revocation and every sign of life of the CA as well."""
        self._followers.add(subscription)

    def stop(self) -> None:
        """Tell every subscriber that the agent ends."""
        self.is_stopping = True
        self.tell_everybody()

    def tell_everybody(self) -> None:
        """Something that concerns every subscriber is otherwise than before."""
        for subscription in self._subscriptions.values():
            subscription.version += 1
            subscription.changed.set()

    def restore(self) -> int:
        """Take the SVIDs that were kept across a restart; returns how many. The others are removed."""
        count = 0
        for kept in self._store.load():
            if self.cache.restore(kept.entry_id, kept.revision, kept.svid, self.now()):
                count += 1
            else:
                self._store.drop(kept.entry_id)
        return count

    def apply_domain(self, change: DomainChange) -> None:
        """Raises `RevocationGap`."""
        self._carry_out(self.cache.apply_domain(change, self.now()))
        self._tell_followers()
        self.domain_changed.set()

    def apply_node(self, change: NodeChange) -> None:
        effects = self.cache.apply_node(change, self.now())
        self.knows_entries = True
        self._carry_out(effects)
        self.node_changed.set()
        self.node_applied.set()

    def heard(self, monotonic: float) -> None:
        """The CA has been heard now, and not only seen in what was kept by somebody in between."""
        self.heard_at = monotonic
        self.beats += 1
        self.cache.heard(self.now())
        if self._restless_at is None or monotonic - self._restless_at >= _LOOK_AGAIN:
            self._restless_at = monotonic
            self._tell(self.cache.restless())
            self.look_again.set()
        self._tell_followers()
        self._look()

    def forget(self, entry_id: str, serial: bytes, reason: str) -> None:
        """Hold this SVID no more: it is about to be revoked."""
        self._carry_out(self.cache.forget(entry_id, serial, reason, self.now()))

    def doubt(self, entry_id: str) -> None:
        """Somebody who has the entry's SVID may have lost it: all of them are attested again."""
        self._tell(self.cache.subscribers_of(entry_id))

    def reconnected(self) -> None:
        """The CA is back."""
        self.cache.reconnected(self.now())
        self._look()

    def issued(self, want: Want, svid: X509Svid) -> None:
        """The CA gave this; it has been verified."""
        effects = self.cache.issued(want, svid, self.now())
        if self.cache.svid_of(want.entry.id) is svid:
            self._keep(Held(entry=want.entry, svid=svid), want.entry.revision)
        self._carry_out(effects)

    def refused(self, want: Want, reason: str, *, is_denial: bool) -> None:
        """The CA did not give it."""
        self._carry_out(self.cache.refused(want, reason, self.now(), is_denial=is_denial))

    async def run(self) -> None:
        """Drop what expires when it does, and say when something is due."""
        while True:
            self._carry_out(self.cache.expire(self.now()))
            self._timer.clear()
            now = self.now()
            wakeup = self.cache.next_wakeup(now)
            pause = _LONGEST_SLEEP if wakeup is None else min(max(wakeup - now, _SHORTEST_SLEEP), _LONGEST_SLEEP)
            try:
                async with asyncio.timeout(pause.total_seconds()):
                    await self._timer.wait()
            except TimeoutError:
                pass

    def _tell_followers(self) -> None:
        for subscription in self._followers:
            subscription.changed.set()

    def _look(self) -> None:
        self.due.set()
        self._timer.set()

    def _carry_out(self, effects: Effects) -> None:
        for dropped in effects.dropped:
            self._store.drop(dropped.entry_id)
            _log.event(
                "svid.dropped",
                spiffe_id=dropped.svid.spiffe_id,
                serial=dropped.svid.facts.serial.hex(),
                reason=dropped.reason,
            )
        self._tell(effects.notify)
        self._look()

    def _tell(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            subscription = self._subscriptions.get(number)
            if subscription is not None:
                subscription.version += 1
                subscription.changed.set()

    def _keep(self, held: Held[X509Svid], revision: int) -> None:
        try:
            self._store.put(held, revision=revision)
        except InbornError as error:
            _log.warning("svid.not_kept", spiffe_id=held.svid.spiffe_id, reason=error.message)
