"""Whatever happens in whatever order, the cache shows nobody what he may not have, and forgets to ask for nothing."""

from __future__ import annotations

import datetime as dt
import uuid

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.entry_table import EntryTable
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.recent_revocations import RecentRevocations
from inborn_agent.cache.slots import Want
from tests.rigs.certificates import NOW, make_bundle, make_issuing, make_leaf, make_root

TD = TrustDomain("example.org")
NODE = parse_spiffe_id("spiffe://example.org/inborn/agent/1")
LOG = b"l" * 16
ROOT = make_root()
ISSUING = make_issuing(ROOT)
KEY = make_leaf(ISSUING).key  # one key for all: to make keys is not what is tested here

SELECTORS = [Selector("unix", f"uid:{i}") for i in range(4)]
selector_sets = st.frozensets(st.sampled_from(SELECTORS), max_size=4)
PATHS = ["/a", "/b", "/c"]
IDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(i))) for i in range(5)]


def entry(entry_id: str, path: str, selectors: frozenset[Selector], revision: int) -> FeedEntry:
    return FeedEntry(
        id=entry_id,
        spiffe_id=parse_spiffe_id(f"spiffe://example.org{path}"),
        selectors=selectors,
        ttl=dt.timedelta(minutes=10),
        revision=revision,
    )


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.cache = Cache(trust_domain=TD, spread=lambda: 0.5)
        self.entries: dict[str, FeedEntry] = {}
        self.callers: dict[int, frozenset[Selector]] = {}
        self.asked: list[Want] = []
        self.revision = 0
        self.seq = 0
        self.cache.apply_domain(self._domain((), snapshot=True), self.now)
        self.cache.apply_node(self._node(), self.now)

    def _domain(self, rules: tuple[Revocation, ...], *, snapshot: bool = False) -> DomainChange:
        self.revision += 1
        return DomainChange(
            log_id=LOG,
            revision=self.revision,
            is_snapshot=snapshot,
            bundle=make_bundle(ROOT) if snapshot else None,
            authorities=None,
            revocations=rules,
            dropped=(),
            revocation_seq=self.seq,
        )

    def _node(self, *entries: FeedEntry, removed: tuple[str, ...] = (), snapshot: bool = False) -> NodeChange:
        self.revision += 1
        return NodeChange(
            node=NODE,
            log_id=LOG,
            revision=self.revision,
            is_snapshot=snapshot,
            entries=entries,
            removed=removed,
        )

    @rule(caller=st.integers(0, 4), selectors=selector_sets)
    def attest(self, caller: int, selectors: frozenset[Selector]) -> None:
        self.cache.subscribe(caller, selectors, self.now)
        self.callers[caller] = selectors

    @rule(caller=st.integers(0, 4))
    def leave(self, caller: int) -> None:
        self.cache.unsubscribe(caller, self.now)
        self.callers.pop(caller, None)

    @rule(entry_id=st.sampled_from(IDS), path=st.sampled_from(PATHS), selectors=selector_sets)
    def put_entry(self, entry_id: str, path: str, selectors: frozenset[Selector]) -> None:
        made = entry(entry_id, path, selectors, self.revision + 1)
        self.entries[entry_id] = made
        self.cache.apply_node(self._node(made), self.now)

    @rule(entry_id=st.sampled_from(IDS))
    def remove_entry(self, entry_id: str) -> None:
        self.entries.pop(entry_id, None)
        self.cache.apply_node(self._node(removed=(entry_id,)), self.now)

    @rule(kept=st.sets(st.sampled_from(IDS)))
    def snapshot(self, kept: set[str]) -> None:
        self.entries = {i: e for i, e in self.entries.items() if i in kept}
        self.cache.apply_node(self._node(*self.entries.values(), snapshot=True), self.now)

    @rule(path=st.sampled_from(PATHS))
    def revoke(self, path: str) -> None:
        last = make_leaf(ISSUING, key=KEY).certificate.serial_number
        self.seq += 1
        revocation = Revocation(
            seq=self.seq,
            kind=RevocationKind.SPIFFE_ID,
            value=f"spiffe://example.org{path}".encode(),
            cut_offs={ISSUING.key_id: last.to_bytes(19, "big")},
        )
        self.cache.apply_domain(self._domain((revocation,)), self.now)

    @rule(limit=st.integers(1, 3))
    def take(self, limit: int) -> None:
        wants = self.cache.take_due(self.now, limit=limit)
        assert len(wants) <= limit
        under_way = {want.entry.id for want in self.asked}
        for want in wants:
            assert want.entry.id not in under_way or want.entry != self._asked(want.entry.id)
            assert want.entry == self.entries[want.entry.id]
            assert want.entry.is_matched_by(want.selectors) or want.entry.id in under_way
        self.asked += wants

    def _asked(self, entry_id: str) -> FeedEntry:
        return next(want.entry for want in self.asked if want.entry.id == entry_id)

    @precondition(lambda self: self.asked)
    @rule(life=st.sampled_from([1, 10]), is_late=st.booleans())
    def issue(self, life: int, is_late: bool) -> None:
        want = self.asked.pop(0)
        issued_at = self.now - dt.timedelta(hours=is_late)  # late: it has expired when it comes
        leaf = make_leaf(
            ISSUING, str(want.entry.spiffe_id), now=issued_at, life=dt.timedelta(minutes=life), key=KEY
        ).svid(issued_at=issued_at)
        self.cache.issued(want, leaf, self.now)

    @precondition(lambda self: self.asked)
    @rule(is_denial=st.booleans())
    def refuse(self, is_denial: bool) -> None:
        self.cache.refused(self.asked.pop(0), "no", self.now, is_denial=is_denial)

    @rule(seconds=st.sampled_from([1, 60, 400, 4000]), notices=st.booleans())
    def wait(self, seconds: int, notices: bool) -> None:
        self.now += dt.timedelta(seconds=seconds)
        if notices:
            self.cache.expire(self.now)

    @invariant()
    def nobody_sees_what_he_may_not_have(self) -> None:
        for caller, selectors in self.callers.items():
            matching = {i: e for i, e in self.entries.items() if e.selectors and e.selectors <= selectors}
            view = self.cache.view(caller, self.now)
            assert view.entries == len(matching)
            for held in view.held:
                assert matching[held.entry.id] == held.entry
                assert held.svid.spiffe_id == held.entry.spiffe_id
                self._assert_good(held.svid)

    def _assert_good(self, svid: X509Svid) -> None:
        facts = svid.facts
        assert self.now < facts.not_after
        assert self.cache.revocations.find(facts) is None

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Whoever matches an entry has its SVID, or it is being asked for, or an attempt is planned."""
        under_way = {want.entry.id for want in self.asked}
        for selectors in self.callers.values():
            for matched in self.cache.match(selectors):
                slot = self.cache.slots()[matched.id]
                assert slot.svid is not None or slot.is_asking or slot.schedule.next_attempt is not None
                if slot.is_asking:
                    assert matched.id in under_way
                assert slot.is_wanted(self.now)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(
    st.dictionaries(st.sampled_from(IDS), st.tuples(st.sampled_from(PATHS), selector_sets)),
    st.lists(st.sampled_from(IDS), max_size=3),
    selector_sets,
)
def test_a_match_is_what_looking_at_every_entry_gives(
    entries: dict[str, tuple[str, frozenset[Selector]]], removed: list[str], selectors: frozenset[Selector]
) -> None:
    table = EntryTable()
    for entry_id, (path, wanted) in entries.items():
        table.put(entry(entry_id, path, wanted, 1))
    for entry_id in removed:
        table.remove(entry_id)
    left = [e for i, (path, wanted) in entries.items() if i not in removed for e in [entry(i, path, wanted, 1)]]
    assert sorted(e.id for e in table.match(selectors)) == sorted(
        e.id for e in left if e.selectors and e.selectors <= selectors
    )
    assert len(table) == len(left)


@given(st.lists(st.one_of(st.just(None), st.integers(0, 3)), max_size=30), st.integers(1, 8))
def test_whoever_follows_the_log_gets_everything_or_a_snapshot(changes: list[int | None], limit: int) -> None:
    log = RecentRevocations(limit=limit)
    history: list[int] = []
    marks: list[tuple[int, int]] = [(log.position, 0)]
    seq = 0
    for change in changes:
        if change is None:
            log.reset()
        else:
            rules = tuple(
                Revocation(seq=seq + i + 1, kind=RevocationKind.SERIAL, value=b"\x01", cut_offs={})
                for i in range(change)
            )
            seq += change
            history += [r.seq for r in rules]
            log.append(rules, ())
        marks.append((log.position, len(history)))
    for position, length in marks:
        difference = log.since(position)
        if difference is not None:
            assert [r.seq for r in difference.revocations] == history[length:]
    assert log.since(log.position) is not None
    assert log.since(log.position + 1) is None
