"""A set of revocations equals a naive model of it, whatever snapshots and deltas it is driven by."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from inborn._internal.feed.log_parts import LogReader, log_to_wire
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.revocation.revocation_set import Revocation, RevocationGap, RevocationKind, RevocationSet
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.wire.messages import revocation_from_wire, revocation_to_wire
from inborn_proto import agent_pb2

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
EAST = dt.timezone(dt.timedelta(hours=2))
AUTHORITIES = [b"\x01" * 20, b"\x02" * 20]
IDS = [
    f"spiffe://example.org{p}" for p in ("", "/a", "/a/b", "/ab", "/a/b/c", "/inborn", "/inborn/agent/1", "/inbornx")
] + ["spiffe://other.example/a"]
KEYS = [bytes([n]) * 32 for n in (1, 2)]
SERIALS = [b"\x01", b"\x7f", b"\x80", b"\x01\x00", b"\x01\x01", b"\xff\xff"]

POPULATION = [
    CertificateFacts(
        spiffe_id=parse_spiffe_id(text),
        serial=serial,
        key_hash=KEYS[n % 2],
        authority=authority,
        not_before=NOW,
        not_after=NOW,
    )
    for n, (text, serial, authority) in enumerate(
        (text, serial, authority)
        for text in IDS
        if text.count("/") > 2
        for serial in SERIALS
        for authority in AUTHORITIES
    )
]

targets = st.one_of(
    st.tuples(st.just(RevocationKind.SERIAL), st.sampled_from(SERIALS)),
    st.tuples(st.just(RevocationKind.KEY), st.sampled_from(KEYS)),
    st.tuples(st.just(RevocationKind.SPIFFE_ID), st.sampled_from(IDS).map(str.encode)),
    st.tuples(st.just(RevocationKind.ID_PREFIX), st.sampled_from(IDS).map(str.encode)),
    st.tuples(st.just(RevocationKind.AUTHORITY), st.sampled_from(AUTHORITIES)),
)
cut_offs = st.dictionaries(st.sampled_from(AUTHORITIES), st.none() | st.sampled_from(SERIALS), min_size=1)


@st.composite
def rules(draw: st.DrawFn, seq: int) -> Revocation:
    kind, value = draw(targets)
    reach = draw(cut_offs)
    if kind is RevocationKind.SERIAL and draw(st.booleans()):
        reach = {draw(st.sampled_from(AUTHORITIES)): value}  # what an expansion makes
    return Revocation(
        seq=seq,
        kind=kind,
        value=value,
        cut_offs=reach,
        blocks=draw(st.booleans()),
        reason=draw(st.sampled_from([0, 1, 10, 63, 64, 2**32 - 1])),
        revoked_at=draw(st.sampled_from([None, NOW, NOW + dt.timedelta(microseconds=1), NOW.astimezone(EAST)])),
    )


def number(serial: bytes) -> int:
    return int(serial.hex(), 16)


def is_at_or_below(text: str, prefix: str) -> bool:
    return text == prefix or text.startswith(prefix + "/")


def is_touched(rule: Revocation, facts: CertificateFacts) -> bool:
    """What the design says, written down a second time."""
    if facts.authority not in rule.cut_offs:
        return False
    limit = rule.cut_offs[facts.authority]
    if limit is not None and number(facts.serial) > number(limit):
        return False
    text = str(facts.spiffe_id)
    is_ours = is_at_or_below(text, f"spiffe://{facts.spiffe_id.trust_domain}/inborn")
    return {
        RevocationKind.SERIAL: facts.serial == rule.value,
        RevocationKind.KEY: facts.key_hash == rule.value,
        RevocationKind.SPIFFE_ID: text.encode() == rule.value and not is_ours,
        RevocationKind.ID_PREFIX: is_at_or_below(text, rule.value.decode("latin-1")) and not is_ours,
        RevocationKind.AUTHORITY: facts.authority == rule.value,
    }[rule.kind]


def says_no_less(rule: Revocation, than: Revocation) -> bool:
    if (rule.kind, rule.value) != (than.kind, than.value) or (than.blocks and not rule.blocks):
        return False
    for authority, limit in than.cut_offs.items():
        if authority not in rule.cut_offs:
            return False
        mine = rule.cut_offs[authority]
        if mine is not None and (limit is None or number(limit) > number(mine)):
            return False
    return True


@dataclass
class Model:
    """Every log with its rules in one dictionary; looks at all of them each time."""

    logs: dict[bytes, dict[int, Revocation]] = field(default_factory=dict)
    lengths: dict[bytes, int] = field(default_factory=dict)
    current: bytes = b""

    def everything(self) -> list[Revocation]:
        return [rule for log in self.logs.values() for rule in log.values()]

    def snapshot(self, log_id: bytes, seq: int, new: list[Revocation]) -> None:
        kept = {} if log_id == self.current else self.logs.get(log_id, {})
        self.logs[log_id] = {**kept, **{rule.seq: rule for rule in new}}
        self.lengths[log_id] = seq
        self.current = log_id
        self.forget()

    def delta(self, log_id: bytes, seq: int, new: list[Revocation], dropped: list[int]) -> None:
        log = self.logs[log_id]
        for rule in new:
            if rule.seq > self.lengths[log_id]:
                log[rule.seq] = rule
        self.lengths[log_id] = max(seq, self.lengths[log_id])
        self.forget()
        for gone in dropped:
            log.pop(gone, None)

    def forget(self) -> None:
        mine = self.logs[self.current]
        for log_id, log in list(self.logs.items()):
            if log_id != self.current:
                self.logs[log_id] = {
                    s: rule for s, rule in log.items() if not any(says_no_less(other, rule) for other in mine.values())
                }
                if not self.logs[log_id]:
                    del self.logs[log_id]
                    self.lengths.pop(log_id)


def assert_same(revocations: RevocationSet, model: Model) -> None:
    everything = model.everything()
    assert len(revocations) == len(everything)
    assert sorted(map(repr, revocations)) == sorted(map(repr, everything))
    for facts in POPULATION:
        found = revocations.find(facts)
        assert (found is not None) == any(is_touched(rule, facts) for rule in everything)
        assert found is None or is_touched(found, facts)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_set_equals_the_model(data: st.DataObject) -> None:
    revocations, model = RevocationSet(), Model()
    for _ in range(data.draw(st.integers(1, 8))):
        known = model.lengths.get(model.current, 0)
        if not model.current or data.draw(st.integers(0, 3)) == 0:
            log_id = data.draw(st.sampled_from([b"A", b"B", b"C"]))
            seq = data.draw(st.integers(0, known + 3))
            seqs = data.draw(st.lists(st.integers(1, max(1, seq)), unique=True, max_size=6)) if seq else []
            new = [data.draw(rules(s)) for s in seqs]
            if seq < model.lengths.get(log_id, 0):
                refuses(revocations, lambda s: s.apply_snapshot(log_id, seq, new))  # noqa: B023  called at once
            else:
                revocations.apply_snapshot(log_id, seq, new)
                model.snapshot(log_id, seq, new)
        else:
            first = data.draw(st.integers(1, known + 2))
            length = first + data.draw(st.integers(0, 3)) - 1
            new = [data.draw(rules(s)) for s in range(first, length + 1)]
            dropped = data.draw(st.lists(st.integers(1, known + 4), max_size=4))
            if first > known + 1 and new:
                refuses(revocations, lambda s: s.apply_delta(s.log_id, length, new, dropped))  # noqa: B023
            elif length <= known or first <= known + 1:
                revocations.apply_delta(model.current, length, new, dropped)
                model.delta(model.current, length, new, dropped)
        assert_same(revocations, model)


def as_sent(log: RevocationLog) -> list[Revocation]:
    """As the rules come over the wire: packed ones with their microseconds, the others (also the second one of a
    serial) without."""
    loose = {rule.seq for part in log.parts() for rule in part.revocations}
    return [revocation_from_wire(revocation_to_wire(rule)) if rule.seq in loose else rule for rule in log]


def written_out(revocations: RevocationSet) -> list[tuple[bytes, int, list[Revocation]]]:
    return [(log.log_id, log.seq, list(log)) for log in revocations.logs()]


def refuses(revocations: RevocationSet, what: object) -> None:
    before = written_out(revocations)
    try:
        what(revocations)  # type: ignore[operator]
    except RevocationGap:
        assert written_out(revocations) == before
        return
    raise AssertionError("it was applied")


@given(st.data())
def test_logs_make_the_set_anew(data: st.DataObject) -> None:
    revocations = RevocationSet()
    for log_id in data.draw(st.lists(st.sampled_from([b"A", b"B", b"C"]), min_size=1, max_size=4)):
        seqs = data.draw(st.lists(st.integers(1, 5), unique=True, max_size=4))
        try:
            revocations.apply_snapshot(log_id, 5, [data.draw(rules(s)) for s in seqs])
        except RevocationGap:
            continue
    copy, sent = RevocationSet(), RevocationSet()
    for log in revocations.logs():
        copy.apply_snapshot(log.log_id, log.seq, log)
        reader = LogReader()
        for message in log_to_wire(log):
            received = reader.read(agent_pb2.Revocations.FromString(message.SerializeToString()))
        assert received is not None
        sent.apply_log(received)
    assert written_out(copy) == written_out(revocations)
    assert written_out(sent) == [(log.log_id, log.seq, as_sent(log)) for log in revocations.logs()]


@given(st.data())
def test_deltas_one_by_one_give_what_a_snapshot_gives(data: st.DataObject) -> None:
    every = [data.draw(rules(s)) for s in range(1, data.draw(st.integers(1, 8)) + 1)]
    dropped = data.draw(st.sets(st.integers(1, len(every))))
    step_by_step, at_once = RevocationSet(), RevocationSet()
    step_by_step.apply_snapshot(b"A", 0, [])
    for rule in every:
        step_by_step.apply_delta(b"A", rule.seq, [rule])
    step_by_step.apply_delta(b"A", len(every), [], dropped)
    at_once.apply_snapshot(b"A", len(every), [rule for rule in every if rule.seq not in dropped])
    assert list(step_by_step) == list(at_once)
    for facts in POPULATION:
        assert (step_by_step.find(facts) is None) == (at_once.find(facts) is None)


@given(rules(1), rules(2))
def test_rule_that_covers_another_matches_all_that_it_matches(one: Revocation, other: Revocation) -> None:
    if one.covers(other):
        for facts in POPULATION:
            assert one.matches(facts) or not other.matches(facts)
    assert one.covers(one)
