"""The agent's cache: what it wants, holds, shows and drops."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from pathlib import Path

import pytest

from inborn._internal.feed.feed_content import Authority, FeedEntry
from inborn._internal.revocation.revocation_set import Revocation, RevocationGap, RevocationKind
from inborn._internal.selectors.demand import parse_demand
from inborn._internal.selectors.selector import Selector, parse_selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.slots import Effects, View, Want
from inborn_agent.disk.kept_state import KeptState
from tests.rigs.certificates import NOW, Credential, make_bundle, make_issuing, make_leaf, make_root

TD = TrustDomain("example.org")
NODE = parse_spiffe_id("spiffe://example.org/inborn/agent/1")
LOG = b"l" * 16
ROOT = make_root()
ISSUING = make_issuing(ROOT)
UID = frozenset({parse_selector("unix:uid:1000")})
UID_AND_PATH = UID | {parse_selector("unix:path:/bin/web")}
SECOND = dt.timedelta(seconds=1)


def entry(path: str = "/web", selectors: frozenset[Selector] = UID, **changes: object) -> FeedEntry:
    values: dict[str, object] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, path)),
        "spiffe_id": parse_spiffe_id(f"spiffe://example.org{path}"),
        "selectors": selectors,
        "ttl": dt.timedelta(hours=1),
        "revision": 1,
    }
    return FeedEntry(**(values | changes))  # type: ignore[arg-type]


def node(*entries: FeedEntry, removed: tuple[str, ...] = (), snapshot: bool = False, **changes: object) -> NodeChange:
    values: dict[str, object] = {
        "node": NODE,
        "log_id": LOG,
        "revision": 1,
        "is_snapshot": snapshot,
        "entries": entries,
        "removed": removed,
    }
    return NodeChange(**(values | changes))  # type: ignore[arg-type]


def domain(*rules: Revocation, snapshot: bool = False, seq: int | None = None, **changes: object) -> DomainChange:
    values: dict[str, object] = {
        "log_id": LOG,
        "revision": 1,
        "is_snapshot": snapshot,
        "bundle": make_bundle(ROOT) if snapshot else None,
        "authorities": (authority(ISSUING, AuthorityState.ACTIVE),) if snapshot else None,
        "revocations": rules,
        "dropped": (),
        "revocation_seq": len(rules) if seq is None else seq,
    }
    return DomainChange(**(values | changes))  # type: ignore[arg-type]


def authority(credential: Credential, state: AuthorityState, crl: bytes = b"crl") -> Authority:
    return Authority(certificate=credential.certificate, key_id=credential.key_id, state=state, crl=crl)


def rule(path: str = "/web", *, seq: int = 1, limit: bytes | None = None) -> Revocation:
    return Revocation(
        seq=seq,
        kind=RevocationKind.SPIFFE_ID,
        value=f"spiffe://example.org{path}".encode(),
        cut_offs={ISSUING.key_id: limit},
        blocks=True,
    )


def svid(path: str = "/web", *, now: dt.datetime = NOW, life: dt.timedelta = dt.timedelta(hours=1)) -> X509Svid:
    return make_leaf(ISSUING, f"spiffe://example.org{path}", now=now, life=life).svid(issued_at=now)


def synced(*entries: FeedEntry) -> Cache:
    cache = Cache(trust_domain=TD, spread=lambda: 0.5)
    cache.apply_domain(domain(snapshot=True), NOW)
    cache.apply_node(node(*entries, snapshot=True), NOW)
    return cache


def ask(cache: Cache, now: dt.datetime = NOW) -> Want:
    (want,) = cache.take_due(now, limit=10)
    return want


def with_svid(cache: Cache, subscriber: int = 1, selectors: frozenset[Selector] = UID) -> X509Svid:
    cache.subscribe(subscriber, selectors, NOW)
    issued = svid()
    cache.issued(ask(cache), issued, NOW)
    return issued


def ids(view: View) -> list[str]:
    return [str(held.svid.spiffe_id) for held in view.held]


def test_is_synced_once_both_feeds_were_heard() -> None:
    cache = Cache(trust_domain=TD, spread=lambda: 0.5)
    assert not cache.is_synced
    cache.apply_domain(domain(snapshot=True), NOW)
    assert not cache.is_synced
    cache.apply_node(node(snapshot=True), NOW)
    assert cache.is_synced


def test_nothing_is_fetched_for_entries_that_nobody_asked_for() -> None:
    cache = synced(*(entry(f"/w{i}") for i in range(100)))
    assert cache.take_due(NOW, limit=1000) == []
    assert cache.next_wakeup(NOW) is None


def test_a_matching_caller_makes_the_cache_ask_at_once_and_only_once() -> None:
    cache = synced(entry())
    effects = cache.subscribe(1, UID, NOW)
    assert effects.notify == {1}
    want = ask(cache)
    assert want.entry.spiffe_id.path == "/web"
    assert want.selectors == UID
    assert cache.take_due(NOW, limit=10) == []
    assert not cache.view(1, NOW).is_settled


def test_a_caller_that_matches_nothing_is_settled_with_nothing() -> None:
    cache = synced(entry())
    cache.subscribe(1, frozenset({parse_selector("unix:uid:7")}), NOW)
    view = cache.view(1, NOW)
    assert (view.held, view.entries, view.is_settled) == ((), 0, True)
    assert cache.take_due(NOW, limit=10) == []


def test_an_entry_without_selectors_matches_nobody() -> None:
    cache = synced(entry(selectors=frozenset()))
    assert cache.match(UID) == []


def test_what_is_issued_is_shown_to_every_matching_caller_and_to_no_other() -> None:
    cache = synced(entry())
    cache.subscribe(2, UID_AND_PATH, NOW)
    cache.subscribe(3, frozenset({parse_selector("unix:uid:7")}), NOW)
    with_svid(cache)
    assert ids(cache.view(1, NOW)) == ids(cache.view(2, NOW)) == ["spiffe://example.org/web"]
    assert ids(cache.view(3, NOW)) == []


def test_the_most_specific_identity_comes_first() -> None:
    cache = synced(entry("/a"), entry("/z", UID_AND_PATH))
    cache.subscribe(1, UID_AND_PATH, NOW)
    for want in cache.take_due(NOW, limit=10):
        cache.issued(want, svid(want.entry.spiffe_id.path), NOW)
    assert ids(cache.view(1, NOW)) == ["spiffe://example.org/z", "spiffe://example.org/a"]


def test_an_svid_of_another_id_is_not_taken() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    effects = cache.issued(ask(cache), svid("/other"), NOW)
    assert effects == Effects()
    assert cache.view(1, NOW).held == ()
    assert len(cache.take_due(NOW, limit=10)) == 1


def test_an_svid_that_was_revoked_while_it_was_under_way_is_not_taken() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    want = ask(cache)
    issued = svid()
    cache.apply_domain(domain(rule()), NOW)
    cache.issued(want, issued, NOW)
    assert cache.view(1, NOW).held == ()
    assert len(cache.take_due(NOW, limit=10)) == 1


def test_an_svid_that_comes_expired_is_a_problem_and_not_an_identity() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    cache.issued(ask(cache), svid(now=NOW - dt.timedelta(hours=2)), NOW)
    view = cache.view(1, NOW)
    assert view.held == ()
    assert "expired" in view.problem


def test_what_was_issued_before_the_clock_was_set_back_is_asked_for_anew_and_not_served() -> None:
    """Nobody would take it: it is not valid yet, and its own time for renewal is a year ahead."""
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    cache.issued(ask(cache), svid(), NOW)
    before = NOW - dt.timedelta(days=365)
    assert cache.view(1, before).held == ()
    (dropped,) = cache.expire(before).dropped
    assert dropped.reason.startswith("it is valid from ")
    issued = svid(now=before)
    cache.issued(ask(cache, before), issued, before)
    assert [held.svid for held in cache.view(1, before).held] == [issued]


def test_an_answer_for_an_entry_that_is_gone_changes_nothing() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    want = ask(cache)
    cache.apply_node(node(removed=(want.entry.id,)), NOW)
    assert cache.issued(want, svid(), NOW) == Effects()
    assert cache.refused(want, "no", NOW, is_denial=True) == Effects()
    assert cache.held_count == 0


def test_renewal_is_due_at_half_of_the_life_and_shows_the_new_one() -> None:
    cache = synced(entry())
    with_svid(cache)
    half = NOW + dt.timedelta(minutes=30)
    assert cache.take_due(half - SECOND, limit=10) == []
    want = ask(cache, half)
    fresh = svid(now=half)
    assert cache.issued(want, fresh, half).notify == {1}
    assert cache.view(1, half).held[0].svid is fresh


def test_the_old_svid_is_served_while_the_ca_is_away_and_never_once_it_has_expired() -> None:
    cache = synced(entry())
    with_svid(cache)
    half, end = NOW + dt.timedelta(minutes=30), NOW + dt.timedelta(hours=1)
    cache.refused(ask(cache, half), "no route to host", half, is_denial=False)
    assert ids(cache.view(1, end - SECOND)) == ["spiffe://example.org/web"]
    assert cache.view(1, end).held == ()  # even before anybody called expire
    effects = cache.expire(end)
    assert [d.reason for d in effects.dropped] == ["it has expired"]
    assert effects.notify == {1}
    assert len(cache.take_due(end, limit=10)) == 1


def test_a_revoked_svid_is_dropped_at_once_and_asked_for_anew() -> None:
    cache = synced(entry())
    issued = with_svid(cache)
    effects = cache.apply_domain(domain(rule()), NOW)
    assert [d.svid for d in effects.dropped] == [issued]
    assert effects.notify == {1}
    assert cache.view(1, NOW).held == ()
    assert len(cache.take_due(NOW, limit=10)) == 1


def test_a_revocation_below_the_serial_touches_nothing() -> None:
    cache = synced(entry())
    issued = with_svid(cache)
    limit = (issued.leaf.serial_number - 1).to_bytes(19, "big")
    assert cache.apply_domain(domain(rule(limit=limit)), NOW).dropped == ()
    assert cache.view(1, NOW).held[0].svid is issued


def test_missing_revocations_are_refused_and_change_nothing() -> None:
    cache = synced(entry())
    with_svid(cache)
    with pytest.raises(RevocationGap):
        cache.apply_domain(domain(rule(seq=3), seq=3), NOW)
    assert cache.revocations.seq == 0
    assert len(cache.view(1, NOW).held) == 1


def test_rules_of_a_former_log_stay_in_force() -> None:
    cache = synced(entry())
    with_svid(cache)
    cache.apply_domain(domain(rule(limit=None)), NOW)
    cache.apply_domain(domain(snapshot=True, log_id=b"m" * 16), NOW)
    want = ask(cache)
    cache.issued(want, svid(), NOW)
    assert cache.view(1, NOW).held == ()


def test_a_denial_is_told_and_tried_again_with_growing_pauses() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    now, pauses = NOW, []
    for attempt in range(4):
        effects = cache.refused(ask(cache, now), "blocked", now, is_denial=True)
        assert bool(effects.notify) is (attempt == 0)  # told once
        wakeup = cache.next_wakeup(now)
        assert wakeup is not None
        pauses.append(wakeup - now)
        now = wakeup
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    assert cache.view(1, now).denial == "blocked"
    assert cache.view(1, now).is_settled


def test_anything_that_the_ca_says_makes_a_denied_identity_be_tried_within_a_second() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    now = NOW
    for _ in range(8):
        cache.refused(ask(cache, now), "blocked", now, is_denial=True)
        wakeup = cache.next_wakeup(now)
        assert wakeup is not None
        now = wakeup
    cache.refused(ask(cache, now), "blocked", now, is_denial=True)
    cache.heard(now)
    wakeup = cache.next_wakeup(now)
    assert wakeup is not None
    assert wakeup - now < SECOND


def test_a_host_full_of_denied_identities_is_no_storm() -> None:
    cache = synced(*(entry(f"/w{i}") for i in range(1000)))
    cache.subscribe(1, UID, NOW)
    for want in cache.take_due(NOW, limit=1000):
        for _ in range(8):
            cache.refused(want, "blocked", NOW, is_denial=True)
    later = NOW + SECOND
    cache.heard(later)
    assert 0 < len(cache.take_due(later, limit=1000)) <= 100


def test_a_denied_renewal_leaves_the_svid_until_it_expires() -> None:
    cache = synced(entry())
    with_svid(cache)
    half = NOW + dt.timedelta(minutes=30)
    cache.refused(ask(cache, half), "blocked", half, is_denial=True)
    assert ids(cache.view(1, half)) == ["spiffe://example.org/web"]


def test_a_removed_entry_takes_its_svid_with_it() -> None:
    cache = synced(entry())
    with_svid(cache)
    effects = cache.apply_node(node(removed=(entry().id,)), NOW)
    assert [d.reason for d in effects.dropped] == ["its entry is gone"]
    assert effects.notify == {1}
    assert cache.view(1, NOW).entries == 0


def test_a_snapshot_removes_what_it_does_not_name() -> None:
    cache = synced(entry(), entry("/other"))
    cache.subscribe(1, UID, NOW)
    cache.apply_node(node(entry("/other"), snapshot=True), NOW)
    assert [e.spiffe_id.path for e in cache.entries] == ["/other"]
    assert cache.view(1, NOW).entries == 1


def test_a_new_entry_reaches_a_caller_that_waits() -> None:
    cache = synced()
    cache.subscribe(1, UID, NOW)
    assert cache.apply_node(node(entry()), NOW).notify == {1}
    assert len(cache.take_due(NOW, limit=10)) == 1


def test_a_changed_entry_is_asked_for_anew_while_the_old_svid_is_served() -> None:
    cache = synced(entry())
    issued = with_svid(cache)
    cache.apply_node(node(entry(revision=2)), NOW)
    assert cache.view(1, NOW).held[0].svid is issued
    assert ask(cache).entry.revision == 2


def test_an_entry_that_changed_while_it_was_asked_for_is_asked_for_again() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    want = ask(cache)
    cache.apply_node(node(entry(revision=2)), NOW)
    cache.issued(want, svid(), NOW)
    assert ask(cache).entry.revision == 2


def test_an_entry_with_another_spiffe_id_drops_the_svid_at_once() -> None:
    cache = synced(entry())
    with_svid(cache)
    changed = dataclasses.replace(entry(), spiffe_id=parse_spiffe_id("spiffe://example.org/new"), revision=2)
    effects = cache.apply_node(node(changed), NOW)
    assert len(effects.dropped) == 1
    assert cache.view(1, NOW).held == ()
    assert str(ask(cache).entry.spiffe_id) == "spiffe://example.org/new"


def test_a_caller_that_no_longer_matches_sees_nothing_of_it() -> None:
    cache = synced(entry())
    with_svid(cache)
    effects = cache.subscribe(1, frozenset({parse_selector("unix:uid:7")}), NOW)
    assert effects.notify == {1}
    assert cache.view(1, NOW).held == ()


def test_an_entry_whose_selectors_grow_is_taken_from_who_lacks_one() -> None:
    cache = synced(entry())
    with_svid(cache)
    assert cache.apply_node(node(entry(selectors=UID_AND_PATH, revision=2)), NOW).notify == {1}
    assert cache.view(1, NOW).held == ()


def test_svids_of_a_tainted_authority_are_replaced() -> None:
    cache = synced(entry())
    with_svid(cache)
    cache.apply_domain(domain(authorities=(authority(ISSUING, AuthorityState.TAINTED),)), NOW)
    assert len(cache.view(1, NOW).held) == 1
    assert len(cache.take_due(NOW, limit=10)) == 1


def test_a_new_crl_is_told_to_everybody() -> None:
    cache = synced(entry())
    with_svid(cache)
    change = domain(authorities=(authority(ISSUING, AuthorityState.ACTIVE, b"newer"),))
    assert cache.apply_domain(change, NOW).notify == {1}
    assert cache.crls == (b"newer",)
    assert cache.apply_domain(change, NOW).notify == frozenset()


def test_an_svid_is_kept_for_one_life_after_its_last_caller_left() -> None:
    cache = synced(entry())
    with_svid(cache)
    cache.unsubscribe(1, NOW)
    half = NOW + dt.timedelta(minutes=31)
    cache.issued(ask(cache, half), svid(now=half), half)
    later = half + dt.timedelta(minutes=31)
    assert cache.take_due(later, limit=10) == []
    cache.expire(half + dt.timedelta(hours=1))
    assert cache.held_count == 0
    assert cache.next_wakeup(later) is None


def test_nothing_is_remembered_of_a_caller_that_left_before_it_got_anything() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    cache.unsubscribe(1, NOW)
    assert cache.take_due(NOW, limit=10) == []


def test_a_restored_svid_is_served_to_whoever_is_attested_and_renewed_with_its_selectors() -> None:
    cache = synced(entry())
    kept = svid()
    assert cache.restore(entry().id, 1, kept, NOW)
    half = NOW + dt.timedelta(minutes=40)
    assert cache.take_due(half, limit=10) == []  # nobody was attested yet
    cache.subscribe(1, UID_AND_PATH, half)
    assert cache.view(1, half).held[0].svid is kept
    assert ask(cache, half).selectors == UID_AND_PATH


@pytest.mark.parametrize("defect", ["expired", "from the future", "revoked", "other id", "no entry"])
def test_what_may_not_be_served_is_not_restored(defect: str) -> None:
    cache = synced(entry())
    kept, entry_id = svid(), entry().id
    match defect:
        case "expired":
            kept = svid(now=NOW - dt.timedelta(hours=2))
        case "from the future":
            kept = svid(now=NOW + dt.timedelta(hours=2))
        case "revoked":
            cache.apply_domain(domain(rule()), NOW)
        case "other id":
            kept = svid("/other")
        case "no entry":
            entry_id = str(uuid.uuid4())
    assert not cache.restore(entry_id, 1, kept, NOW)
    assert cache.held_count == 0


def test_what_could_not_be_asked_for_is_tried_as_soon_as_the_ca_is_back() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    now = NOW
    for _ in range(10):
        cache.refused(ask(cache, now), "no route to host", now, is_denial=False)
        wakeup = cache.next_wakeup(now)
        assert wakeup is not None
        now = wakeup
    cache.refused(ask(cache, now), "no route to host", now, is_denial=False)
    cache.reconnected(now)
    wakeup = cache.next_wakeup(now)
    assert wakeup is not None
    assert wakeup - now <= dt.timedelta(seconds=0.5)


def test_a_batch_has_a_limit_and_the_rest_is_the_next_one() -> None:
    cache = synced(*(entry(f"/w{i}") for i in range(7)))
    cache.subscribe(1, UID, NOW)
    sizes = [len(cache.take_due(NOW, limit=3)) for _ in range(4)]
    assert sizes == [3, 3, 1, 0]


SECCOMP = (parse_demand("seccomp"),)
LOCKED_IN = UID | {parse_selector("posture:seccomp:filter")}


def test_who_does_not_meet_a_demand_has_no_entry_and_is_told_the_fact() -> None:
    cache = synced(entry(demands=SECCOMP))
    cache.subscribe(1, UID, NOW)
    view = cache.view(1, NOW)
    assert (view.entries, view.is_settled) == (0, True)
    assert [refusal.unmet for refusal in view.refused] == list(SECCOMP)
    assert cache.take_due(NOW, limit=10) == []
    assert cache.restless() == {1}
    cache.subscribe(1, LOCKED_IN, NOW)
    assert cache.view(1, NOW).entries == 1
    assert cache.restless() == set()


def test_a_new_rule_takes_the_identity_from_whom_it_refuses_and_issues_nothing_anew() -> None:
    cache = synced(entry())
    with_svid(cache, 1)
    cache.subscribe(2, LOCKED_IN, NOW)
    effects = cache.apply_node(node(entry(demands=SECCOMP), snapshot=True, revision=2), NOW)
    assert effects.notify == {1, 2}, "whoever is meant is looked at anew"
    assert cache.view(1, NOW).held == ()
    assert ids(cache.view(2, NOW)) == ["spiffe://example.org/web"]
    assert cache.take_due(NOW, limit=10) == []
    assert cache.apply_node(node(entry(), snapshot=True, revision=3), NOW).notify == {1, 2}
    assert ids(cache.view(1, NOW)) == ["spiffe://example.org/web"]


def test_a_rule_that_goes_makes_the_cache_ask_again_for_what_the_ca_denied() -> None:
    cache = synced(entry(demands=SECCOMP))
    cache.subscribe(1, LOCKED_IN, NOW)
    cache.refused(ask(cache), "a rule", NOW, is_denial=True)
    cache.apply_node(node(entry(), snapshot=True, revision=2), NOW)
    assert ask(cache).entry.demands == ()


def test_a_denial_of_what_one_process_showed_is_not_held_against_another() -> None:
    cache = synced(entry())
    cache.subscribe(1, UID, NOW)
    cache.refused(ask(cache), "selector blocked", NOW, is_denial=True)
    cache.subscribe(2, UID_AND_PATH, NOW)
    assert not cache.view(2, NOW).is_settled
    assert cache.take_due(NOW, limit=10) == [], "not in a tight loop either"
    assert ask(cache, NOW + SECOND).selectors == UID_AND_PATH
    cache.subscribe(2, LOCKED_IN, NOW)
    assert cache.take_due(NOW + SECOND, limit=10) == [], "only a newcomer counts"


def test_what_is_forgotten_is_shown_no_more_and_asked_for_anew_only_for_whoever_is_there() -> None:
    cache = synced(entry())
    held = with_svid(cache)
    assert cache.forget(entry().id, b"another", "lost", NOW).dropped == ()
    effects = cache.forget(entry().id, held.facts.serial, "lost", NOW)
    assert [dropped.svid for dropped in effects.dropped] == [held]
    assert effects.notify == {1}
    assert cache.view(1, NOW).held == ()
    cache.issued(ask(cache), svid(), NOW)
    again = cache.svid_of(entry().id)
    assert again is not None
    cache.unsubscribe(1, NOW)
    cache.forget(entry().id, again.facts.serial, "lost", NOW)
    assert cache.take_due(NOW, limit=10) == []
    assert cache.next_wakeup(NOW) is None


def test_the_nearest_entry_is_the_one_that_misses_the_fewest_facts_and_demands() -> None:
    far = entry("/far", UID | {parse_selector("unix:gid:1"), parse_selector("unix:gid:2")})
    near, refused = entry("/near", UID_AND_PATH), entry("/refused", demands=SECCOMP)
    cache = synced(far, near, refused)
    nearest = cache.entries.nearest(UID_AND_PATH, limit=3)
    assert [e.spiffe_id.path for e in nearest] == ["/near", "/refused", "/far"]
    assert refused.unmet(UID) == list(SECCOMP)


def test_what_rules_demand_and_what_is_revoked_survive_a_restart(tmp_path: Path) -> None:
    cache = synced(entry(demands=SECCOMP, revoke_when_lost=True))
    state = KeptState(tmp_path)
    state.save_domain(state.domain_bytes(cache))
    state.save_node(state.node_bytes(cache))
    loaded = Cache(trust_domain=TD, spread=lambda: 0.5)
    state.load(loaded, NOW)
    assert list(loaded.entries) == list(cache.entries)
    assert loaded.match(UID) == []
