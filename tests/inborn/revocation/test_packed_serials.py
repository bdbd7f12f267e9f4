"""A million revoked serials in little room: what they cost, how they are handed on, what is refused on the way."""

from __future__ import annotations

import datetime as dt
import gc
import os
import random
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inborn._internal.feed.log_parts import LogReader, log_to_wire
from inborn._internal.revocation.packed_serials import RECORD_SIZE, PackedSerials
from inborn._internal.revocation.revocation_log import LogPart, RevocationLog
from inborn._internal.revocation.revocation_set import (
    InvalidRevocation,
    Revocation,
    RevocationGap,
    RevocationKind,
    RevocationSet,
)
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn_proto import agent_pb2

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
LOG = b"l" * 16
AUTHORITY, ANOTHER = b"\x01" * 20, b"\x02" * 20
MILLION = 1_000_000
RECORD = struct.Struct(">QqHB20s")


def serial(n: int) -> bytes:
    """19 bytes that rise, as the CA makes them."""
    return (1 << 144 | n << 88 | random.Random(n).getrandbits(88)).to_bytes(19, "big")


def rule(seq: int, value: bytes = b"", authority: bytes = AUTHORITY, *, blocks: bool = True) -> Revocation:
    value = value or serial(seq)
    return Revocation(
        seq=seq, kind=RevocationKind.SERIAL, value=value, cut_offs={authority: value}, blocks=blocks, revoked_at=NOW
    )


def facts(value: bytes, authority: bytes = AUTHORITY) -> CertificateFacts:
    return CertificateFacts(
        spiffe_id=parse_spiffe_id("spiffe://example.org/a/b"),
        serial=value,
        key_hash=b"k" * 32,
        authority=authority,
        not_before=NOW,
        not_after=NOW,
    )


def log_of(count: int, **options: bool) -> RevocationLog:
    return RevocationLog(LOG, count, (rule(n, **options) for n in range(1, count + 1)))


def test_rule_comes_out_as_it_went_in() -> None:
    packed = PackedSerials()
    for seq, value in ((3, b"\x01"), (4, b"\xff" * 20), (7, b"\x01" + bytes(18))):
        assert packed.add(rule(seq, value))
        assert packed.find(value, AUTHORITY) == rule(seq, value)
        assert packed.find(value, ANOTHER) is None
    assert [r.seq for r in packed] == [3, 4, 7]


def test_table_grows_and_dropped_rules_are_left_behind() -> None:
    count = 20_000
    log = log_of(count)
    revocations = RevocationSet()
    revocations.apply_log(log)
    kept = set(range(1, count + 1, 7))
    revocations.apply_delta(LOG, count, [], [seq for seq in range(1, count + 1) if seq not in kept])
    assert {r.seq for r in revocations} == kept
    for seq in range(1, count + 1):
        assert (revocations.find(facts(serial(seq))) is not None) == (seq in kept)
    revocations.apply_delta(LOG, count + 1, [rule(count + 1)])
    assert revocations.find(facts(serial(count + 1))) is not None


def test_reader_in_another_thread_never_misses_a_rule_that_stays() -> None:
    revocations = RevocationSet()
    revocations.apply_log(log_of(1000))
    stays = [facts(serial(n)) for n in range(1, 11)]
    missed, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            missed.extend(f for f in stays if revocations.find(f) is None)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for step in range(20):
            seq = revocations.seq
            new = range(seq + 1, seq + 1001)
            dropped = [n for n in range(seq - 999, seq + 1) if n > 10]
            revocations.apply_delta(LOG, seq + 1000, [rule(n) for n in new], dropped)
            if step % 5 == 0:
                revocations.apply_log(RevocationLog(LOG, revocations.seq, list(revocations)))
    finally:
        stop.set()
        reader.join()
        sys.setswitchinterval(before)
    assert not missed


@pytest.mark.parametrize("blocks", [True, False])
def test_restored_ca_that_has_taken_over_the_serials_drops_them(blocks: bool) -> None:
    revocations = RevocationSet()
    revocations.apply_log(log_of(100))
    revocations.apply_log(RevocationLog(b"m" * 16, 50, (rule(n, serial(n), blocks=blocks) for n in range(1, 51))))
    assert len(revocations) == (100 if blocks else 150), "a rule that forgot the block does not cover"
    revocations.apply_delta(b"m" * 16, 51, [rule(51, serial(100))])
    assert len(revocations) == (100 if blocks else 150)
    assert all(revocations.find(facts(serial(n))) for n in range(1, 101))


# Handing on.


def test_log_is_handed_on_in_parts_while_it_changes() -> None:
    log = log_of(60_000)
    odd = Revocation(
        seq=60_001, kind=RevocationKind.ID_PREFIX, value=b"spiffe://example.org/x", cut_offs={AUTHORITY: None}
    )
    log.append(odd)
    messages, reader, read = log_to_wire(log), LogReader(), None
    for n, message in enumerate(messages):
        assert message.ByteSize() < 2**20
        read = reader.read(message)
        if n == 0:
            log.append(rule(60_002))
            log.drop(59_999)
    assert read is not None
    assert n >= 2
    assert [r.seq for r in read] == [*range(1, 59_999), 60_000, 60_001]
    assert (read.log_id, read.seq) == (LOG, 60_001)


def test_empty_log_is_handed_on() -> None:
    (message,) = log_to_wire(RevocationLog(LOG, 5))
    read = LogReader().read(message)
    assert read is not None
    assert (read.seq, len(read)) == (5, 0)


def record(seq: int = 1, at: int = -(2**63), number: int = 0, flags: int = 0, value: bytes = b"\x01" * 20) -> bytes:
    return RECORD.pack(seq, at, number, flags, value)


@pytest.mark.parametrize(
    ("records", "authorities"),
    [
        (record()[:-1], (AUTHORITY,)),
        (record() + b"\0", (AUTHORITY,)),
        (record(seq=0), (AUTHORITY,)),
        (record(seq=2) + record(seq=1, value=b"\x02" * 20), (AUTHORITY,)),
        (record() + record(value=b"\x02" * 20), (AUTHORITY,)),
        (record(number=1), (AUTHORITY,)),
        (record(value=bytes(20)), (AUTHORITY,)),
        (record(at=2**62), (AUTHORITY,)),
        (record(at=-(2**62)), (AUTHORITY,)),
        (record(), ()),
        (record(), (b"",)),
        (record(), (b"x" * 65,)),
    ],
)
def test_bad_records_are_refused(records: bytes, authorities: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidRevocation):
        RevocationLog(LOG, 10).extend(LogPart(authorities=authorities, records=records))


def test_records_beyond_the_length_or_of_a_seq_that_is_taken_are_refused() -> None:
    with pytest.raises(RevocationGap, match="beyond its length"):
        RevocationLog(LOG, 10).extend(LogPart(authorities=(AUTHORITY,), records=record(seq=11)))
    log = RevocationLog(LOG, 10)
    key = Revocation(seq=4, kind=RevocationKind.KEY, value=b"k" * 32, cut_offs={AUTHORITY: None})
    with pytest.raises(RevocationGap, match="two revocations of seq 4"):
        log.extend(LogPart(authorities=(AUTHORITY,), records=record(seq=4), revocations=(key,)))
    log = RevocationLog(LOG, 10, [key])
    with pytest.raises(RevocationGap, match="two revocations of seq 4"):
        log.extend(LogPart(authorities=(AUTHORITY,), records=record(seq=4)))


def test_dropped_records_are_no_rules_and_a_serial_that_comes_twice_stays_twice() -> None:
    log = RevocationLog(LOG, 10)
    twice = record(seq=2, number=1) + record(seq=3, flags=0x80, value=b"\x03" * 20)
    log.extend(LogPart(authorities=(AUTHORITY, ANOTHER), records=record() + twice))
    assert [r.seq for r in log] == [1, 2]
    assert log.find(facts(b"\x01" * 20, ANOTHER)) is not None
    assert log.find(facts(b"\x03" * 20)) is None


@pytest.mark.parametrize(
    "second",
    [
        agent_pb2.Revocations(log_id=LOG, revocation_seq=11, snapshot=True),
        agent_pb2.Revocations(log_id=b"m" * 16, revocation_seq=10, snapshot=True),
        agent_pb2.Revocations(log_id=LOG, revocation_seq=10),
    ],
)
def test_snapshot_that_does_not_go_on_is_refused(second: agent_pb2.Revocations) -> None:
    reader = LogReader()
    assert reader.read(agent_pb2.Revocations(log_id=LOG, revocation_seq=10, snapshot=True, more=True)) is None
    with pytest.raises(RevocationGap):
        reader.read(second)
    assert not reader.is_between


# Figures. The bounds are wide, because other things run beside the tests; the benchmark has the narrow ones.


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


_chance = random.Random(1)
_TAILS = [_chance.randbytes(11) for _ in range(1000)]
_HEAD = (1 << 56).to_bytes(8, "big")[1:]


def value(n: int) -> bytes:
    return b"\x01" + _HEAD + n.to_bytes(4, "big") + _TAILS[n % 1000][:7]


def packed_log(count: int) -> RevocationLog:
    log = RevocationLog(LOG, count)
    for first in range(0, count, 50_000):
        numbers = range(first, min(count, first + 50_000))
        piece = b"".join(record(n + 1, value=value(n).rjust(20, b"\0")) for n in numbers)
        log.extend(LogPart(authorities=(AUTHORITY,), records=piece))
    return log


def room_of_a_million() -> float:
    """MiB by which this process grows."""
    gc.collect()
    before = resident_mib()
    log = packed_log(MILLION)
    gc.collect()
    grown = resident_mib() - before
    assert len(log) == MILLION
    return grown


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc: memory is read there")
def test_a_million_serials_take_little_room() -> None:
    """In a process of its own: how much one grows that has run other tests depends on what they have left free."""
    code = f"import {__name__} as t; print(t.room_of_a_million())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert 0 < float(said.stdout) < 120


def test_a_million_serials_are_looked_up_and_added_to_as_a_thousand_are() -> None:
    """In ratios and in time of the processor: the machine may have other things to do."""
    few, many = lookups(1000), lookups(MILLION)
    assert many < 8 * few  # the bisection is twice as long, and its memory is in no cache
    few, many = additions(1000), additions(MILLION)
    assert many < 8 * few


def revoked(log: RevocationLog) -> RevocationSet:
    revocations = RevocationSet()
    revocations.apply_log(log)
    return revocations


def lookups(count: int) -> float:
    """Seconds for a thousand serials that are there and a thousand that are not, among so many; the best of five."""
    chance, revocations = random.Random(2), revoked(packed_log(count))
    looked_for = [(facts(value(n)), True) for n in chance.sample(range(count), 1000)]
    looked_for += [(facts(value(n)), False) for n in range(count, count + 1000)]
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        found = [revocations.find(f) for f, _ in looked_for]
        best = min(best, time.process_time() - began)
        assert [revocation is not None for revocation in found] == [is_there for _, is_there in looked_for]
    return best


def additions(count: int) -> float:
    """Seconds for ten thousand more than so many."""
    log = packed_log(count)
    revocations = revoked(log)
    more = [rule(count + n, b"\x02" + serial(n)) for n in range(1, 10_001)]
    began = time.process_time()
    revocations.apply_delta(LOG, count + 10_000, more)
    took = time.process_time() - began
    assert sum(len(part.records) for part in log.parts()) == (count + 10_000) * RECORD_SIZE
    return took
