"""Which SVIDs the agent wants, holds, gives and drops, of whatever kind they are. No input, no output, no clock.

Theory of operation. A *slot* is an entry that some attested workload has asked for, with the SVID that it has or the
reason why it has none; nothing is fetched for entries that nobody asked for. A slot is *wanted* while a subscriber
matches its entry, and for one life of its SVID after the last one left, so that a daemon that is restarted finds its
identity also while the CA is away.

`take_due` says what to ask the CA for; the answer comes back as `issued` or `refused`. Everything else is driven by
`subscribe`, `change_entries`, `hurry_outdated` and `expire`. They return the effects that whoever drives has to carry
out: whom to tell, and which SVIDs are gone. An expired or revoked SVID is gone at once and is asked for anew, with a
new key; a denial is remembered with growing pauses, and is tried again at once when the CA says anything at all.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.rotation import Schedule, retry_delay
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.verification.verify import CLOCK_SKEW
from inborn.errors import moment
from inborn_agent.cache.entry_table import EntryTable
from inborn_agent.cache.slots import Dropped, Effects, Held, IssueRefusal, S, Slot, View, Want

__all__ = ["SlotTable"]

# How many denied identities are asked for again when the CA says something, and how soon after the last time: an
# unblocked workload is back within a second, and a host full of blocked ones is no storm.
_RETRIES_PER_MESSAGE = 100
_RETRY_SPACING = dt.timedelta(seconds=0.3)


class SlotTable(ABC, Generic[S]):
    """See the module's text. `spread` gives random numbers from 0 to 1. Belongs to one thread.

    It decides on the facts of an SVID and never looks into it. Which facts are revoked or outdated is said by whoever
    knows that for the kind of SVID.
    """

    def __init__(self, *, spread: Callable[[], float]) -> None:
        self.entries = EntryTable()
        self._requests = 0
        self._spread = spread
        self._slots: dict[str, Slot[S]] = {}
        self._subscribers: dict[int, tuple[frozenset[Selector], tuple[str, ...]]] = {}

    @abstractmethod
    def why_revoked(self, facts: CertificateFacts) -> str | None:
        """Why the SVID is not to be given out, held or taken; None if it is not revoked."""

    @abstractmethod
    def is_outdated(self, facts: CertificateFacts) -> bool:
        """Whether the SVID is good but to be renewed at once."""

    # What there is.

    @property
    def held_count(self) -> int:
        return sum(slot.svid is not None for slot in self._slots.values())

    def held(self) -> list[Held[S]]:
        """Every SVID that is held."""
        return [Held(entry=slot.entry, svid=slot.svid) for slot in self._slots.values() if slot.svid is not None]

    def slots(self) -> dict[str, Slot[S]]:
        """What is known of each entry that somebody wants, by the entry's id."""
        return dict(self._slots)

    def svid_of(self, entry_id: str) -> S | None:
        """What is held for the entry."""
        slot = self._slots.get(entry_id)
        return None if slot is None else slot.svid

    def match(self, selectors: frozenset[Selector]) -> list[FeedEntry]:
        return self.entries.match(selectors)

    def view(self, subscriber: int, now: dt.datetime) -> View[S]:
        """What this subscriber may have now. Never an expired or a revoked SVID, whatever has been noticed yet."""
        selectors, entry_ids = self._subscribers[subscriber]
        slots = [self._slots[entry_id] for entry_id in entry_ids]
        return View(
            held=tuple(
                Held(entry=slot.entry, svid=slot.svid)
                for slot in slots
                if slot.svid is not None and self._flaw(slot, now) is None
            ),
            entries=len(slots),
            is_settled=all(slot.is_settled for slot in slots),
            denial=next((slot.denial for slot in slots if slot.denial), ""),
            problem=next((slot.problem for slot in slots if slot.problem), ""),
            refused=tuple(
                IssueRefusal(entry=entry, unmet=unmet[0])
                for entry in self.entries.meant_for(selectors)
                if (unmet := entry.unmet(selectors))
            ),
        )

    def restless(self) -> set[int]:
        """Subscribers that miss an entry by a posture policy alone: a process locks itself in after it was started."""
        return {
            subscriber
            for subscriber, (selectors, _) in self._subscribers.items()
            if any(entry.unmet(selectors) for entry in self.entries.meant_for(selectors))
        }

    def subscribers_of(self, entry_id: str) -> set[int]:
        """Who is given the entry's SVID."""
        slot = self._slots.get(entry_id)
        return set() if slot is None else set(slot.subscribers)

    # Who wants something.

    def subscribe(self, subscriber: int, selectors: frozenset[Selector], now: dt.datetime) -> Effects:
        """Somebody attested with these selectors wants its identities from now on; also after attesting it anew."""
        before = self._subscribers.get(subscriber)
        entries = self.entries.match(selectors)
        self._subscribers[subscriber] = (selectors, tuple(entry.id for entry in entries))
        if before is not None:
            self._leave(subscriber, set(before[1]) - {entry.id for entry in entries}, now)
        for entry in entries:
            slot = self._slots.get(entry.id)
            if slot is None:
                slot = self._slots[entry.id] = Slot(entry, selectors, Schedule(now, now, now))
            elif slot.denial and subscriber not in slot.subscribers and selectors != slot.selectors:
                # Denied was what another process showed.
                slot.denial = ""
                slot.schedule.next_attempt = max(now, min(slot.asked_at or now, now) + _RETRY_SPACING)
            slot.subscribers.add(subscriber)
            slot.selectors = selectors
        has_changed = before is None or before[1] != self._subscribers[subscriber][1]
        return Effects(notify=frozenset({subscriber}) if has_changed else frozenset())

    def unsubscribe(self, subscriber: int, now: dt.datetime) -> None:
        """It wants nothing any more."""
        _, entry_ids = self._subscribers.pop(subscriber, (frozenset(), ()))
        self._leave(subscriber, entry_ids, now)

    def _leave(self, subscriber: int, entry_ids: Iterable[str], now: dt.datetime) -> None:
        for entry_id in entry_ids:
            slot = self._slots.get(entry_id)
            if slot is None:
                continue
            slot.subscribers.discard(subscriber)
            if not slot.subscribers:
                if slot.svid is None and not slot.is_asking:
                    del self._slots[entry_id]
                else:
                    slot.wanted_until = now + slot.entry.ttl

    # What to ask for, and what came of it.

    def take_due(self, now: dt.datetime, *, limit: int) -> list[Want]:
        """What to ask the CA for now; it is not named again before it is `issued` or `refused`."""
        due = [slot for slot in self._slots.values() if self._is_due(slot, now)][:limit]
        for slot in due:
            self._requests += 1
            slot.asking = self._requests
            slot.asked_at = now
        return [Want(entry=slot.entry, selectors=slot.selectors, number=slot.asking) for slot in due]

    def next_wakeup(self, now: dt.datetime) -> dt.datetime | None:
        """The next time after `now` at which `take_due` or `expire` have something to do that they did not have yet."""
        times = [slot.facts.not_after for slot in self._slots.values() if slot.facts is not None]
        times += [s.schedule.next_attempt for s in self._slots.values() if not s.is_asking and s.is_wanted(now)]
        return min((time for time in times if time > now), default=None)

    def issued(self, want: Want, svid: S, now: dt.datetime) -> Effects:
        """The CA gave this. It must have been verified against the bundle; what no longer fits is not taken."""
        slot = self._slots.get(want.entry.id)
        if slot is None or slot.asking not in (0, want.number):
            return Effects()
        slot.asking = 0
        facts = svid.facts
        if facts.spiffe_id != slot.entry.spiffe_id or self.why_revoked(facts) is not None:
            slot.schedule.hurry(now)
            return Effects()
        if (reason := _out_of_time(facts, now)) is not None:
            return self.refused(want, f"the CA's clock or ours is wrong: what it issued {reason}", now, is_denial=False)
        slot.svid, slot.facts, slot.denial, slot.problem = svid, facts, "", ""
        slot.schedule = Schedule.after_issue(now, facts.not_after, spread=self._spread())
        if slot.entry.revision != want.entry.revision or self.is_outdated(facts):
            slot.schedule.hurry(now)
        return Effects(notify=frozenset(slot.subscribers))

    def refused(self, want: Want, reason: str, now: dt.datetime, *, is_denial: bool) -> Effects:
        """The CA said no (`is_denial`), or could not be asked. What is held stays until it expires."""
        slot = self._slots.get(want.entry.id)
        if slot is None or slot.asking not in (0, want.number):
            return Effects()
        slot.asking = 0
        if not slot.subscribers and slot.svid is None:
            del self._slots[want.entry.id]
            return Effects()
        was_settled = slot.is_settled and bool(slot.denial) == is_denial
        slot.denial, slot.problem = (reason, "") if is_denial else ("", reason)
        if slot.entry.revision != want.entry.revision:
            slot.schedule.hurry(now)
        else:
            slot.schedule.failed(now, spread=self._spread())
        return Effects() if was_settled else Effects(notify=frozenset(slot.subscribers))

    def heard(self, now: dt.datetime) -> None:
        """The CA said something: ask again for what it denied, some at a time, the longest denied first."""
        denied = [s for s in self._slots.values() if s.denial and not s.is_asking and s.schedule.next_attempt > now]
        denied.sort(key=lambda slot: slot.asked_at or now)
        for slot in denied[:_RETRIES_PER_MESSAGE]:
            # Not `hurry`: the pauses between attempts that nobody prompted go on growing.
            # An attempt that lies ahead was made before the clock was set back.
            slot.schedule.next_attempt = max(now, min(slot.asked_at or now, now) + _RETRY_SPACING)

    def reconnected(self, now: dt.datetime) -> None:
        """The CA is back: what could not be asked for is tried at once, spread over the first pause."""
        for slot in self._slots.values():
            if slot.problem:
                slot.schedule.next_attempt = now + retry_delay(1, remaining=dt.timedelta(0), spread=self._spread())

    def restore(self, entry_id: str, revision: int, svid: S, now: dt.datetime) -> bool:
        """Take an SVID that was kept across a restart. False: it fits no entry, has expired or is revoked."""
        entry, facts = self.entries.get(entry_id), svid.facts
        if entry is None or entry.spiffe_id != facts.spiffe_id or _out_of_time(facts, now) is not None:
            return False
        if entry_id in self._slots or self.why_revoked(facts) is not None:
            return False
        schedule = Schedule.after_issue(svid.issued_at or facts.not_before, facts.not_after, spread=self._spread())
        if revision != entry.revision or self.is_outdated(facts):
            schedule.hurry(now)
        # Not wanted yet: nobody was attested for it since, so there are no selectors that the agent could vouch for.
        self._slots[entry_id] = Slot(entry, frozenset(), schedule, svid=svid, facts=facts)
        return True

    # What the entries are, and what time does.

    def change_entries(self, entries: Iterable[FeedEntry], gone: Iterable[str], now: dt.datetime) -> Effects:
        """These entries are new or otherwise than before, and those are gone."""
        dropped = [d for entry_id in gone if (d := self._remove(entry_id)) is not None]
        touched: set[str] = set()
        for entry in entries:
            known = self.entries.get(entry.id)
            if known == entry:
                continue
            touched.add(entry.id)
            self.entries.put(entry)
            if (d := self._replace(entry, now)) is not None:
                dropped.append(d)
        notify = {subscriber for d in dropped for subscriber in self._subscribers_of(d.entry_id)}
        for subscriber, (selectors, _) in list(self._subscribers.items()):
            notify |= self.subscribe(subscriber, selectors, now).notify
            # Whoever is meant is looked at anew: what a policy demands now may have come or gone since the last
            # time.
            if touched and any(entry.id in touched for entry in self.entries.meant_for(selectors)):
                notify.add(subscriber)
        return Effects(notify=frozenset(notify), dropped=tuple(dropped))

    def hurry_outdated(self, now: dt.datetime) -> None:
        """What is outdated now is asked for anew at once, and held until then."""
        for slot in self._slots.values():
            if slot.facts is not None and self.is_outdated(slot.facts):
                slot.schedule.hurry(now)

    def expire(self, now: dt.datetime) -> Effects:
        """Drop what has expired or is revoked, and forget what nobody wants."""
        notify: set[int] = set()
        dropped: list[Dropped] = []
        for entry_id, slot in list(self._slots.items()):
            reason = self._flaw(slot, now)
            if reason is not None and slot.svid is not None:
                dropped.append(Dropped(entry_id=entry_id, svid=slot.svid, reason=reason))
                notify |= slot.subscribers
                slot.svid = slot.facts = None
                slot.denial = slot.problem = ""
                slot.schedule = Schedule(now, now, now)
            if slot.svid is None and not slot.subscribers and not slot.is_asking:
                del self._slots[entry_id]
        return Effects(notify=frozenset(notify), dropped=tuple(dropped))

    def forget(self, entry_id: str, serial: bytes, reason: str, now: dt.datetime) -> Effects:
        """Hold this SVID no more: it is about to be revoked. Whoever still wants the entry's gets another one."""
        slot = self._slots.get(entry_id)
        if slot is None or slot.svid is None or slot.facts is None or slot.facts.serial != serial:
            return Effects()
        dropped = Dropped(entry_id=entry_id, svid=slot.svid, reason=reason)
        slot.svid = slot.facts = None
        slot.denial = slot.problem = ""
        slot.schedule = Schedule(now, now, now)
        if not slot.subscribers:
            # Nobody is asked for any more; what is under way is not taken when it comes.
            del self._slots[entry_id]
        return Effects(notify=frozenset(slot.subscribers), dropped=(dropped,))

    def _remove(self, entry_id: str) -> Dropped | None:
        self.entries.remove(entry_id)
        slot = self._slots.pop(entry_id, None)
        if slot is None or slot.svid is None:
            return None
        return Dropped(entry_id=entry_id, svid=slot.svid, reason="its entry is gone")

    def _replace(self, entry: FeedEntry, now: dt.datetime) -> Dropped | None:
        slot = self._slots.get(entry.id)
        if slot is None:
            return None
        is_same_id = slot.entry.spiffe_id == entry.spiffe_id
        is_same_certificate = dataclasses.replace(entry, demands=slot.entry.demands) == slot.entry
        svid, slot.entry = slot.svid, entry
        if svid is not None and is_same_certificate:
            return None  # a policy has changed: who may have it is another question
        slot.denial = slot.problem = ""
        slot.schedule.hurry(now)
        if is_same_id or svid is None:
            return None
        slot.svid = slot.facts = None
        return Dropped(entry_id=entry.id, svid=svid, reason="its entry has another SPIFFE ID")

    def _subscribers_of(self, entry_id: str) -> set[int]:
        return {subscriber for subscriber, (_, entry_ids) in self._subscribers.items() if entry_id in entry_ids}

    def _is_due(self, slot: Slot[S], now: dt.datetime) -> bool:
        return not slot.is_asking and slot.schedule.is_due(now) and slot.is_wanted(now)

    def _flaw(self, slot: Slot[S], now: dt.datetime) -> str | None:
        """Why the SVID of the slot may not be given out; None if it may, or if there is none."""
        if slot.facts is None:
            return None
        if (reason := _out_of_time(slot.facts, now)) is not None:
            return f"it {reason}"
        return self.why_revoked(slot.facts)


def _out_of_time(facts: CertificateFacts, now: dt.datetime) -> str | None:
    """Why a certificate is not good now; None if it is. One from the future was issued before a clock was set back."""
    if facts.not_after <= now:
        return "has expired"
    if now + CLOCK_SKEW < facts.not_before:
        return f"is valid from {moment(facts.not_before)}, now {moment(now)}"
    return None
