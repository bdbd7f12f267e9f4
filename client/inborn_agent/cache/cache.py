"""What the agent knows and holds, and what follows from each thing that happens. No input, no output, no clock.

Theory of operation. Entries, bundle, authorities and revocations come from the CA's feeds. A *slot* is an entry that
some attested workload has asked for, with the SVID that it has or the reason why it has none; nothing is fetched for
entries that nobody asked for. A slot is *wanted* while a subscriber matches its entry, and for one life of its SVID
after the last one left, so that a daemon that is restarted finds its identity also while the CA is away.

`take_due` says what to ask the CA for; the answer comes back as `issued` or `refused`. Everything else is driven by
`subscribe`, `apply_domain`, `apply_node`, `expire`. Each returns the effects that whoever drives has to carry out:
whom to tell, and which SVIDs are gone. An expired or revoked SVID is gone at once and is asked for anew, with a new
key; a denial is remembered with growing pauses, and is tried again at once when the CA says anything at all.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable

from inborn._internal.feed.feed_content import Authority, FeedEntry
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.rotation import Schedule, retry_delay
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn_agent.cache.entry_table import EntryTable
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.recent_revocations import RecentRevocations
from inborn_agent.cache.slots import Dropped, Effects, Held, IssueRefusal, Slot, View, Want

__all__ = ["Cache"]

# How many denied identities are asked for again when the CA says something, and how soon after the last time: an
# unblocked workload is back within a second, and a host full of blocked ones is no storm.
_RETRIES_PER_MESSAGE = 100
_RETRY_SPACING = dt.timedelta(seconds=0.3)


class Cache:
    """See the module's text. `spread` gives random numbers from 0 to 1. Belongs to one thread."""

    def __init__(self, *, trust_domain: TrustDomain, spread: Callable[[], float]) -> None:
        self.trust_domain = trust_domain
        self.entries = EntryTable()
        self.bundle: X509Bundle | None = None
        self.authorities: tuple[Authority, ...] = ()
        self.revocations = RevocationSet()
        self._requests = 0
        self.revocation_log = RecentRevocations()
        self.domain_mark: tuple[bytes, int] = (b"", 0)
        """log_id and revision of the domain feed that has been applied."""
        self.node_mark: tuple[bytes, int] = (b"", 0)
        self.node: SpiffeId | None = None
        """Whose entries these are."""
        self.rotate_before: dt.datetime | None = None
        self._spread = spread
        self._slots: dict[str, Slot] = {}
        self._subscribers: dict[int, tuple[frozenset[Selector], tuple[str, ...]]] = {}

    # What there is.

    @property
    def is_synced(self) -> bool:
        """Whether both feeds have been heard, now or before the agent was restarted."""
        return self.bundle is not None and self.domain_mark[0] != b"" and self.node_mark[0] != b""

    @property
    def crls(self) -> tuple[bytes, ...]:
        """The CRLs of all authorities, DER."""
        return tuple(authority.crl for authority in self.authorities if authority.crl)

    @property
    def held_count(self) -> int:
        return sum(slot.svid is not None for slot in self._slots.values())

    def held(self) -> list[Held]:
        """Every SVID that is held."""
        return [Held(entry=slot.entry, svid=slot.svid) for slot in self._slots.values() if slot.svid is not None]

    def slots(self) -> dict[str, Slot]:
        """What is known of each entry that somebody wants, by the entry's id."""
        return dict(self._slots)

    def svid_of(self, entry_id: str) -> X509Svid | None:
        """What is held for the entry."""
        slot = self._slots.get(entry_id)
        return None if slot is None else slot.svid

    def match(self, selectors: frozenset[Selector]) -> list[FeedEntry]:
        return self.entries.match(selectors)

    def view(self, subscriber: int, now: dt.datetime) -> View:
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
        """Subscribers that miss an entry by a revocation alone: a process locks itself in after it was started."""
        return {
            subscriber
            for subscriber, (selectors, _) in self._subscribers.items()
            if any(entry.unmet(selectors) for entry in self.entries.meant_for(selectors))
        }

    def is_outdated(self, facts: CertificateFacts) -> bool:
        """Whether its authority is tainted or revoked: the certificate is to be renewed at once."""
        return any(a.key_id == facts.authority and a.state.is_bad for a in self.authorities)

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

    def issued(self, want: Want, svid: X509Svid, now: dt.datetime) -> Effects:
        """The CA gave this. It must have been verified against the bundle; what no longer fits is not taken."""
        slot = self._slots.get(want.entry.id)
        if slot is None or slot.asking not in (0, want.number):
            return Effects()
        slot.asking = 0
        facts = svid.facts
        if facts.spiffe_id != slot.entry.spiffe_id or self.revocations.find(facts) is not None:
            slot.schedule.hurry(now)
            return Effects()
        if facts.not_after <= now:
            return self.refused(
                want, "the CA's clock or ours is wrong: what it issued has expired", now, is_denial=False
            )
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

    def restore(self, entry_id: str, revision: int, svid: X509Svid, now: dt.datetime) -> bool:
        """Take an SVID that was kept across a restart. False: it fits no entry, has expired or is revoked."""
        entry, facts = self.entries.get(entry_id), svid.facts
        if entry is None or entry.spiffe_id != facts.spiffe_id or facts.not_after <= now:
            return False
        if entry_id in self._slots or self.revocations.find(facts) is not None:
            return False
        schedule = Schedule.after_issue(svid.issued_at or facts.not_before, facts.not_after, spread=self._spread())
        if revision != entry.revision or self.is_outdated(facts):
            schedule.hurry(now)
        # Not wanted yet: nobody was attested for it since, so there are no selectors that the agent could vouch for.
        self._slots[entry_id] = Slot(entry, frozenset(), schedule, svid=svid, facts=facts)
        return True

    # What the CA says, and what time does.

    def apply_domain(self, change: DomainChange, now: dt.datetime) -> Effects:
        """Bundle, authorities, revocations. Raises `RevocationGap`, and changes nothing, if revocations are missing."""
        log_id, seq = change.log_id, change.revocation_seq
        if change.is_snapshot:
            log = change.log or RevocationLog(log_id, seq, change.revocations)
            self.revocations.apply_log(log)
            self.revocation_log.reset()
        else:
            added = self.revocations.apply_delta(log_id, seq, change.revocations, change.dropped)
            self.revocation_log.append(tuple(added), change.dropped)
        self.domain_mark = (log_id, change.revision)
        is_visible = False
        if change.bundle is not None:
            is_visible |= self.bundle is None or change.bundle.der() != self.bundle.der()
            self.bundle = change.bundle
        if change.authorities is not None:
            crls = self.crls
            self.authorities = change.authorities
            is_visible |= crls != self.crls
            for slot in self._slots.values():
                if slot.facts is not None and self.is_outdated(slot.facts):
                    slot.schedule.hurry(now)
        effects = self.expire(now)
        self.heard(now)
        notify = frozenset(self._subscribers) if is_visible else effects.notify
        return Effects(notify=notify, dropped=effects.dropped)

    def apply_node(self, change: NodeChange, now: dt.datetime) -> Effects:
        """Entries of this node: new, changed, removed; and the wish to rotate."""
        gone = set(change.removed)
        if change.is_snapshot:
            gone |= {entry.id for entry in self.entries} - {entry.id for entry in change.entries}
        dropped = [d for entry_id in gone if (d := self._remove(entry_id)) is not None]
        touched: set[str] = set()
        for entry in change.entries:
            known = self.entries.get(entry.id)
            if known == entry:
                continue
            touched.add(entry.id)
            self.entries.put(entry)
            if (d := self._replace(entry, now)) is not None:
                dropped.append(d)
        self.node_mark, self.node = (change.log_id, change.revision), change.node
        must_rotate = change.rotate_before is not None and (
            self.rotate_before is None or change.rotate_before > self.rotate_before
        )
        if must_rotate:
            self.rotate_before = change.rotate_before
            self._rotate(now)
        notify = {subscriber for d in dropped for subscriber in self._subscribers_of(d.entry_id)}
        for subscriber, (selectors, _) in list(self._subscribers.items()):
            notify |= self.subscribe(subscriber, selectors, now).notify
            # Whoever is meant is looked at anew: what a revocation demands now may have come or gone since the last
            # time.
            if touched and any(entry.id in touched for entry in self.entries.meant_for(selectors)):
                notify.add(subscriber)
        self.heard(now)
        return Effects(notify=frozenset(notify), dropped=tuple(dropped), must_rotate_agent=must_rotate)

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
            return None  # a revocation has changed: who may have it is another question
        slot.denial = slot.problem = ""
        slot.schedule.hurry(now)
        if is_same_id or svid is None:
            return None
        slot.svid = slot.facts = None
        return Dropped(entry_id=entry.id, svid=svid, reason="its entry has another SPIFFE ID")

    def _rotate(self, now: dt.datetime) -> None:
        for slot in self._slots.values():
            if slot.facts is not None and self.rotate_before and slot.facts.not_before < self.rotate_before:
                slot.schedule.hurry(now)

    def _subscribers_of(self, entry_id: str) -> set[int]:
        return {subscriber for subscriber, (_, entry_ids) in self._subscribers.items() if entry_id in entry_ids}

    def _is_due(self, slot: Slot, now: dt.datetime) -> bool:
        return not slot.is_asking and slot.schedule.is_due(now) and slot.is_wanted(now)

    def _flaw(self, slot: Slot, now: dt.datetime) -> str | None:
        """Why the SVID of the slot may not be given out; None if it may, or if there is none."""
        if slot.facts is None:
            return None
        if slot.facts.not_after <= now:
            return "it expired"
        revocation = self.revocations.find(slot.facts)
        return None if revocation is None else f"revocation {revocation.seq} of {revocation.target}"
