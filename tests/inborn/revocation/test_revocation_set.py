"""Rules, and the set of them that a peer enforces."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from inborn._internal.revocation.revocation_set import (
    CertificateRevoked,
    InvalidRevocation,
    Revocation,
    RevocationGap,
    RevocationKind,
    RevocationSet,
)
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import UnauthenticatedError

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
ISSUING, NEXT = b"\x01" * 20, b"\x02" * 20  # key identifiers of two authorities
KEY = b"\x11" * 32
LOG, LATER = b"log one", b"log two"


def leaf(
    spiffe_id: str = "spiffe://example.org/a/b",
    serial: bytes = b"\x50",
    key: bytes = KEY,
    authority: bytes = ISSUING,
) -> CertificateFacts:
    return CertificateFacts(
        spiffe_id=parse_spiffe_id(spiffe_id),
        serial=serial,
        key_hash=key,
        authority=authority,
        not_before=NOW,
        not_after=NOW + dt.timedelta(hours=1),
    )


def rule(
    seq: int = 1,
    kind: RevocationKind = RevocationKind.SPIFFE_ID,
    value: bytes | str = "spiffe://example.org/a/b",
    *,
    blocks: bool = False,
    **cut_offs: bytes | None,
) -> Revocation:
    """`issuing` and `next` name the authorities; without one, all of `issuing`."""
    named = {{"issuing": ISSUING, "next": NEXT}[name]: limit for name, limit in cut_offs.items()}
    return Revocation(
        seq=seq,
        kind=kind,
        value=value.encode() if isinstance(value, str) else value,
        cut_offs=named or {ISSUING: None},
        blocks=blocks,
    )


def known(*rules: Revocation, log_id: bytes = LOG) -> RevocationSet:
    revocations = RevocationSet()
    revocations.apply_snapshot(log_id, max((r.seq for r in rules), default=0), rules)
    return revocations


def written_out(revocations: RevocationSet) -> list[tuple[bytes, int, list[Revocation]]]:
    return [(log.log_id, log.seq, list(log)) for log in revocations.logs()]


# What a rule matches.


@pytest.mark.parametrize(
    ("kind", "value", "spared"),
    [
        (RevocationKind.SERIAL, b"\x50", leaf(serial=b"\x51")),
        (RevocationKind.KEY, KEY, leaf(key=b"\x12" * 32)),
        (RevocationKind.SPIFFE_ID, b"spiffe://example.org/a/b", leaf("spiffe://example.org/a/bc")),
        (RevocationKind.ID_PREFIX, b"spiffe://example.org/a", leaf("spiffe://example.org/ab")),
        (RevocationKind.AUTHORITY, ISSUING, leaf(authority=NEXT)),
    ],
)
def test_rule_matches_its_target_and_nothing_else(kind: RevocationKind, value: bytes, spared: CertificateFacts) -> None:
    revocations = known(rule(kind=kind, value=value, issuing=None, next=None))
    assert revocations.find(leaf()) is not None
    assert revocations.find(spared) is None


@pytest.mark.parametrize("prefix", ["spiffe://example.org", "spiffe://example.org/a", "spiffe://example.org/a/b"])
def test_prefix_rule_matches_the_id_itself_and_all_below(prefix: str) -> None:
    assert known(rule(kind=RevocationKind.ID_PREFIX, value=prefix)).find(leaf()) is not None


@pytest.mark.parametrize("prefix", ["spiffe://example.org/a/b/c", "spiffe://example.or", "spiffe://other.example"])
def test_prefix_rule_spares_what_is_not_below_it(prefix: str) -> None:
    assert known(rule(kind=RevocationKind.ID_PREFIX, value=prefix)).find(leaf()) is None


def test_id_rule_spares_what_lies_below_the_id() -> None:
    assert known(rule(value="spiffe://example.org/a")).find(leaf()) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RevocationKind.SPIFFE_ID, "spiffe://example.org/inborn/agent/1"),
        (RevocationKind.ID_PREFIX, "spiffe://example.org/inborn"),
        (RevocationKind.ID_PREFIX, "spiffe://example.org"),
    ],
)
def test_nothing_of_inborns_own_falls_under_a_rule_by_id(kind: RevocationKind, value: str) -> None:
    assert known(rule(kind=kind, value=value)).find(leaf("spiffe://example.org/inborn/agent/1")) is None


@pytest.mark.parametrize(("kind", "value"), [(RevocationKind.SERIAL, b"\x50"), (RevocationKind.KEY, KEY)])
def test_agent_is_revoked_by_serial_and_key(kind: RevocationKind, value: bytes) -> None:
    assert known(rule(kind=kind, value=value)).find(leaf("spiffe://example.org/inborn/agent/1")) is not None


# The cut-off.


def test_cut_off_touches_serials_up_to_it() -> None:
    revocations = known(rule(issuing=b"\x50"))
    assert revocations.find(leaf(serial=b"\x4f")) is not None
    assert revocations.find(leaf(serial=b"\x50")) is not None
    assert revocations.find(leaf(serial=b"\x51")) is None


def test_serials_are_compared_as_numbers() -> None:
    revocations = known(rule(issuing=b"\x01\x00"))
    assert revocations.find(leaf(serial=b"\xff")) is not None
    assert revocations.find(leaf(serial=b"\x01\x01")) is None


def test_authority_that_the_cut_off_does_not_name_is_not_touched() -> None:
    revocations = known(rule(issuing=b"\xff" * 20))
    assert revocations.find(leaf(authority=NEXT, serial=b"\x01")) is None


def test_retired_authority_is_touched_as_a_whole() -> None:
    revocations = known(rule(issuing=None, next=b"\x10"))
    assert revocations.find(leaf(serial=b"\xff" * 20)) is not None
    assert revocations.find(leaf(serial=b"\x11", authority=NEXT)) is None


def test_second_rule_of_the_same_target_reaches_further() -> None:
    revocations = known(rule(1, issuing=b"\x10"), rule(2, issuing=b"\x50"))
    found = revocations.find(leaf(serial=b"\x50"))
    assert found is not None
    assert found.seq == 2


def test_check_names_rule_and_certificate() -> None:
    with pytest.raises(CertificateRevoked, match=r"certificate 50 of spiffe://example\.org/a/b is revoked by id:") as e:
        known(rule(7)).check(leaf())
    assert e.value.facts == {"seq": 7}
    assert isinstance(e.value, UnauthenticatedError)


def test_target_is_what_people_type() -> None:
    assert rule(value="spiffe://example.org/a").target == "id:spiffe://example.org/a"
    assert (
        rule(kind=RevocationKind.ID_PREFIX, value="spiffe://example.org/a").target == "id-prefix:spiffe://example.org/a"
    )
    assert rule(kind=RevocationKind.SERIAL, value=b"\x0a\x0b").target == "serial:0a0b"
    assert rule(kind=RevocationKind.KEY, value=KEY).target == "key:" + "11" * 32


# A rule that can never match must not look like a denial.


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (RevocationKind.SERIAL, b"", "serial of 0 bytes"),
        (RevocationKind.SERIAL, b"\x01" * 21, "serial of 21 bytes"),
        (RevocationKind.SERIAL, b"\x00\x50", "leading zeros: 0050"),
        (RevocationKind.KEY, b"\x11" * 31, "key of 31 bytes"),
        (RevocationKind.AUTHORITY, b"", "authority of 0 bytes"),
        (RevocationKind.AUTHORITY, b"\x01" * 65, "authority of 65 bytes"),
        (RevocationKind.SPIFFE_ID, b"\xff", "names no SPIFFE ID"),
        (RevocationKind.SPIFFE_ID, b"spiffe://Example.org/a", "names no SPIFFE ID"),
        (RevocationKind.ID_PREFIX, b"spiffe://example.org/a/", "names no SPIFFE ID"),
        (RevocationKind.ID_PREFIX, b"spiffe://example.org/a*", "names no SPIFFE ID"),
        (RevocationKind.ID_PREFIX, b"", "names no SPIFFE ID"),
    ],
)
def test_rule_with_an_impossible_target_is_refused(kind: RevocationKind, value: bytes, why: str) -> None:
    with pytest.raises(InvalidRevocation, match=why):
        rule(kind=kind, value=value)


def test_rule_without_a_place_in_the_log_is_refused() -> None:
    with pytest.raises(InvalidRevocation, match="not positive: 0"):
        rule(0)


# Deltas.


def test_delta_adds_and_returns_what_is_new() -> None:
    revocations = known(rule(1, value="spiffe://example.org/x"))
    assert revocations.apply_delta(LOG, 2, [rule(2)]) == [rule(2)]
    assert revocations.find(leaf()) is not None
    assert (revocations.seq, len(revocations)) == (2, 2)


def test_delta_may_come_twice() -> None:
    revocations = known()
    revocations.apply_delta(LOG, 2, [rule(1), rule(2)])
    before = list(revocations)
    assert revocations.apply_delta(LOG, 2, [rule(1), rule(2)]) == []
    assert revocations.apply_delta(LOG, 1, [rule(1)]) == []
    assert (list(revocations), revocations.seq) == (before, 2)


def test_delta_that_overlaps_adds_the_rest() -> None:
    revocations = known(rule(1))
    assert [r.seq for r in revocations.apply_delta(LOG, 3, [rule(3), rule(2), rule(1)])] == [2, 3]


@pytest.mark.parametrize(
    ("seq", "rules"),
    [
        (3, [rule(3)]),  # 2 is missing
        (4, [rule(2), rule(3)]),  # 4 is missing
        (3, [rule(2), rule(2)]),
        (2, [rule(2), rule(3)]),  # beyond its own length
        (2, []),
        (2**63, [rule(2)]),
    ],
)
def test_delta_with_a_gap_is_refused_and_changes_nothing(seq: int, rules: list[Revocation]) -> None:
    revocations = known(rule(1))
    with pytest.raises(RevocationGap, match="missing"):
        revocations.apply_delta(LOG, seq, rules, dropped=[1])
    assert (list(revocations), revocations.seq) == ([rule(1)], 1)


@pytest.mark.parametrize("log_id", [LATER, b""])
def test_delta_of_another_log_is_refused_and_changes_nothing(log_id: bytes) -> None:
    revocations = known(rule(1))
    with pytest.raises(RevocationGap, match="do not follow"):
        revocations.apply_delta(log_id, 2, [rule(2)], dropped=[1])
    assert (list(revocations), revocations.log_id) == ([rule(1)], LOG)


def test_nothing_follows_on_a_set_that_has_heard_nothing() -> None:
    with pytest.raises(RevocationGap):
        RevocationSet().apply_delta(b"", 1, [rule(1)])


def test_dropped_rule_is_gone_and_others_of_its_target_stay() -> None:
    revocations = known(rule(1, issuing=b"\x10"), rule(2, issuing=b"\x20"), rule(3, RevocationKind.KEY, KEY))
    revocations.apply_delta(LOG, 3, [], dropped=[2, 3, 77])
    assert revocations.find(leaf(serial=b"\x20")) is None
    assert revocations.find(leaf(serial=b"\x10")) is not None
    assert [r.seq for r in revocations] == [1]
    revocations.apply_delta(LOG, 3, [], dropped=[2, 3, 77])
    assert [r.seq for r in revocations] == [1]


def test_dropped_rule_does_not_come_back_with_an_old_delta() -> None:
    revocations = known(rule(1))
    revocations.apply_delta(LOG, 1, [], dropped=[1])
    revocations.apply_delta(LOG, 1, [rule(1)])
    assert len(revocations) == 0


def test_last_prefix_rule_that_is_dropped_leaves_no_prefix_behind() -> None:
    revocations = known(
        rule(1, RevocationKind.ID_PREFIX, "spiffe://example.org/a"), rule(2, RevocationKind.ID_PREFIX, "spiffe://b")
    )
    revocations.apply_delta(LOG, 2, [], dropped=[2])
    assert revocations.find(leaf()) is not None
    revocations.apply_delta(LOG, 2, [], dropped=[1])
    assert revocations.find(leaf()) is None


# Snapshots.


def test_snapshot_replaces_what_is_known_of_its_log() -> None:
    revocations = known(rule(1), rule(2, RevocationKind.KEY, KEY))
    assert revocations.apply_snapshot(LOG, 4, [rule(2, RevocationKind.KEY, KEY), rule(4)]) == [rule(4)]
    assert [r.seq for r in revocations] == [2, 4]
    assert revocations.seq == 4


def test_snapshot_may_come_twice() -> None:
    revocations = known(rule(1))
    assert revocations.apply_snapshot(LOG, 1, [rule(1)]) == []
    assert len(revocations) == 1


@pytest.mark.parametrize(
    ("log_id", "seq", "rules", "why"),
    [
        (LOG, 1, [], "went backwards: known 2, shown 1"),
        (LOG, 2, [rule(3)], "beyond its length"),
        (LOG, 3, [rule(3), rule(3, RevocationKind.KEY, KEY)], "two revocations of seq 3"),
        (LATER, 0, [rule(1)], "beyond its length"),
        (b"", 3, [], "no id"),
    ],
)
def test_bad_snapshot_is_refused_and_changes_nothing(
    log_id: bytes, seq: int, rules: list[Revocation], why: str
) -> None:
    revocations = known(rule(1), rule(2, RevocationKind.KEY, KEY))
    with pytest.raises(RevocationGap, match=why):
        revocations.apply_snapshot(log_id, seq, rules)
    assert [r.seq for r in revocations] == [1, 2]
    assert (revocations.log_id, revocations.seq) == (LOG, 2)
    assert revocations.find(leaf()) is not None


# A restored CA has another log_id.


def former(revocations: RevocationSet) -> list[Revocation]:
    """The revocations of all logs but the current one."""
    return [revocation for log in list(revocations.logs())[:-1] for revocation in log]


def test_denials_outlive_a_restore_that_forgot_them() -> None:
    revocations = known(rule(1))
    assert revocations.apply_snapshot(LATER, 0, []) == []
    assert revocations.find(leaf()) is not None
    assert (revocations.log_id, revocations.seq) == (LATER, 0)
    assert former(revocations) == [rule(1)]


def test_rules_of_two_logs_with_the_same_seq_both_stand() -> None:
    revocations = known(rule(1))
    revocations.apply_snapshot(LATER, 1, [rule(1, RevocationKind.KEY, b"\x12" * 32)])
    assert revocations.find(leaf()) is not None
    assert revocations.find(leaf("spiffe://example.org/x", key=b"\x12" * 32)) is not None
    assert len(revocations) == 2


def test_drop_in_the_new_log_does_not_touch_the_former_one() -> None:
    revocations = known(rule(1))
    revocations.apply_snapshot(LATER, 1, [rule(1, RevocationKind.KEY, b"\x12" * 32)])
    revocations.apply_delta(LATER, 1, [], dropped=[1])
    assert revocations.find(leaf()) is not None


def test_going_back_and_forth_between_two_logs_adds_nothing() -> None:
    """Whoever replays signed snapshots of two incarnations fills nobody's memory."""
    revocations = RevocationSet()
    other = rule(1, RevocationKind.KEY, b"\x12" * 32)
    for _ in range(20):
        revocations.apply_snapshot(LOG, 2, [rule(1), rule(2, RevocationKind.SERIAL, b"\x60")])
        revocations.apply_snapshot(LATER, 1, [other])
    assert len(revocations) == 3
    assert list(revocations) == [rule(1), rule(2, RevocationKind.SERIAL, b"\x60"), other]


def test_log_that_is_come_back_to_keeps_what_was_known_of_it() -> None:
    revocations = known(rule(1), rule(2, RevocationKind.KEY, KEY))
    revocations.apply_snapshot(LATER, 0, [])
    assert revocations.apply_snapshot(LOG, 2, [rule(2, RevocationKind.KEY, KEY)]) == []
    assert [r.seq for r in revocations] == [1, 2]
    assert former(revocations) == []


def test_old_state_of_a_former_log_is_refused() -> None:
    revocations = known(rule(1), rule(2, RevocationKind.KEY, KEY))
    revocations.apply_snapshot(LATER, 0, [])
    with pytest.raises(RevocationGap, match="went backwards"):
        revocations.apply_snapshot(LOG, 1, [rule(1)])
    assert revocations.log_id == LATER


@pytest.mark.parametrize("as_delta", [True, False])
def test_rule_that_the_restored_ca_has_taken_over_is_held_once(as_delta: bool) -> None:
    revocations = known(rule(1, issuing=b"\x50"))
    revocations.apply_snapshot(LATER, 0, [])
    again = rule(1, issuing=None, next=b"\x70")
    if as_delta:
        revocations.apply_delta(LATER, 1, [again])
    else:
        revocations.apply_snapshot(LATER, 1, [again])
    assert list(revocations) == [again]
    assert revocations.find(leaf()) is not None
    revocations.apply_delta(LATER, 1, [], dropped=[1])
    assert revocations.find(leaf()) is None, "once the CA has the rule, its word drops it"


@pytest.mark.parametrize(
    "again",
    [
        rule(1, issuing=b"\x4f"),  # touches less
        rule(1, next=None),  # another authority
        rule(1, RevocationKind.ID_PREFIX, "spiffe://example.org/a/b", issuing=None),  # another target
        rule(1, issuing=None, blocks=False),  # forgot the block
    ],
)
def test_rule_that_says_less_does_not_replace_the_former_one(again: Revocation) -> None:
    revocations = known(rule(1, issuing=b"\x50", blocks=True))
    revocations.apply_snapshot(LATER, 1, [again])
    assert len(revocations) == 2
    assert revocations.find(leaf()) is not None


def test_logs_make_the_set_anew() -> None:
    revocations = known(rule(1), rule(3, RevocationKind.KEY, KEY))
    revocations.apply_snapshot(LATER, 4, [rule(1, RevocationKind.SERIAL, b"\x60")])
    revocations.apply_snapshot(b"log three", 5, [rule(1, RevocationKind.SERIAL, b"\x61")])
    copy = RevocationSet()
    for log in revocations.logs():
        copy.apply_snapshot(log.log_id, log.seq, log)
    assert written_out(copy) == written_out(revocations)
    assert [log_id for log_id, _, _ in written_out(copy)] == [LOG, LATER, b"log three"]
    assert copy.seq == 5


def test_set_that_has_heard_nothing_has_no_logs() -> None:
    assert list(RevocationSet().logs()) == []
    assert RevocationSet().find(leaf()) is None


# What it costs.


def test_look_up_costs_the_same_however_many_rules_there_are() -> None:
    def cost(count: int) -> float:
        rules = [rule(i, RevocationKind.SERIAL, (1 << 40 | i).to_bytes(6, "big")) for i in range(1, count + 1)]
        revocations = known(*rules)
        facts = leaf()
        best = float("inf")
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(200):
                revocations.find(facts)
            best = min(best, time.perf_counter() - begin)
        return best

    assert cost(20_000) < 10 * cost(20)
