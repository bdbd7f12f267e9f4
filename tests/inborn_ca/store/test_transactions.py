"""Transactions: all or nothing, whatever happens in between, and rules that the tables keep themselves."""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import AlreadyExistsError, InbornError, InternalError, NotFoundError, UnavailableError
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.model.records import (
    AuditRow,
    Block,
    BlockKind,
    CertificateKind,
    Issued,
    MemberKind,
    RequesterKey,
    RevocationRecord,
    Token,
)
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch
from inborn_ca.store.errors import ConstraintBroken, DatabaseUnavailable
from inborn_ca.store.interface import CertificateFilter
from inborn_ca.store.sqlite.sqlite_store import SqliteStore, open_sqlite

NOW = dt.datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
WEB = parse_spiffe_id("spiffe://example.org/web")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(tmp_path / "inborn.db", now=NOW)
    yield store
    store.close()


class Rows:
    """Rows of the ledger, one after the other."""

    def __init__(self) -> None:
        self.serials = SerialSource()

    def __call__(self, now: dt.datetime = NOW, **changes: object) -> Issued:
        row = Issued(
            serial=self.serials.next(now, os.urandom(11)),
            spiffe_id=WEB,
            kind=CertificateKind.WORKLOAD,
            key_hash=os.urandom(32),
            authority=b"\1" * 20,
            issued_at=now,
            not_after=now + HOUR,
        )
        return replace(row, **changes)


@pytest.fixture
def a_row() -> Rows:
    return Rows()


def everything(store: SqliteStore) -> list[Issued]:
    return store.reader().ledger.select(CertificateFilter())


def test_what_is_committed_is_there_for_others(store: SqliteStore, a_row: Rows) -> None:
    row, reader = a_row(), store.reader()
    with store.transaction() as tx:
        tx.ledger.add(row)
        assert tx.ledger.get(row.serial) == row
        assert reader.ledger.get(row.serial) is None
    assert reader.ledger.get(row.serial) == row


def test_a_block_that_raises_leaves_nothing(store: SqliteStore, a_row: Rows) -> None:
    with suppress(ZeroDivisionError), store.transaction() as tx:
        tx.ledger.add(a_row(entry_id="new", selectors=(parse_selector("unix:uid:1"),)))
        tx.meta.set("a", "b")
        raise ZeroDivisionError
    assert everything(store) == []
    assert store.reader().meta.get("a") is None
    # What was interned on the way is forgotten as well, or the next row would point to nothing.
    again = a_row(entry_id="new", selectors=(parse_selector("unix:uid:1"),))
    with store.transaction() as tx:
        tx.ledger.add(again)
    assert everything(store) == [again]


def test_a_savepoint_undoes_its_own_part_only(store: SqliteStore, a_row: Rows) -> None:
    first, second, third = a_row(), a_row(entry_id="x", not_after=NOW + 99 * HOUR), a_row(entry_id="x")
    with store.transaction() as tx:
        tx.ledger.add(first)
        with suppress(ZeroDivisionError), tx.savepoint():
            tx.ledger.add(second)
            tx.blocks.add(Block(kind=BlockKind.ID, value="x", since=NOW, actor="a"))
            raise ZeroDivisionError
        assert tx.blocks.find([(BlockKind.ID, "x")]) is None
        with tx.savepoint(), tx.savepoint():
            tx.ledger.add(third)
    assert everything(store) == [first, third]


def test_one_serial_is_recorded_once(store: SqliteStore, a_row: Rows) -> None:
    row = a_row()
    with store.transaction() as tx:
        tx.ledger.add(row)
        with pytest.raises(InternalError), tx.savepoint():
            tx.ledger.add(replace(row, spiffe_id=parse_spiffe_id("spiffe://example.org/other")))
    assert everything(store) == [row]


def test_there_is_one_transaction_at_a_time(store: SqliteStore) -> None:
    with store.transaction(), pytest.raises(InternalError, match="under way"), store.transaction():
        pass
    with store.transaction() as tx:
        tx.meta.set("a", "b")


def test_a_reader_works_in_a_thread_of_its_own_and_cannot_write(store: SqliteStore, a_row: Rows) -> None:
    rows = [a_row() for _ in range(100)]
    found: list[list[Issued]] = []
    reader = store.reader()
    with store.transaction() as tx:
        for row in rows:
            tx.ledger.add(row)
        thread = threading.Thread(target=lambda: found.append(reader.ledger.select(CertificateFilter())))
        thread.start()
        thread.join()
    assert found == [[]]
    assert reader.ledger.select(CertificateFilter()) == rows
    with pytest.raises(UnavailableError):
        reader._handle.execute("DELETE FROM issued")


# No room.


@contextmanager
def no_room(store: SqliteStore, pages: int) -> Iterator[None]:
    """As if the disk had so many pages left."""
    raw = store.writer.raw
    (used,) = raw.execute("PRAGMA page_count").fetchone()
    raw.execute(f"PRAGMA max_page_count = {used + pages}")
    yield
    raw.execute("PRAGMA max_page_count = 1000000000")


@contextmanager
def files_end_at(octets: int) -> Iterator[None]:
    """The kernel refuses to write files further than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(store: SqliteStore, a_row: Rows, count: int = 5000) -> None:
    with store.transaction() as tx:
        for n in range(count):
            tx.ledger.add(a_row(spiffe_id=WEB.child(f"w{n}")))


def test_a_full_disk_undoes_the_transaction_and_the_next_one_works_again(store: SqliteStore, a_row: Rows) -> None:
    row = a_row()
    with store.transaction() as tx:
        tx.ledger.add(row)
    with no_room(store, 3):
        with pytest.raises(DatabaseUnavailable, match="disk is full") as caught:
            fill(store, a_row)
        assert caught.value.hint
        assert isinstance(caught.value, UnavailableError)
        assert everything(store) == [row]
        again = a_row()
        with store.transaction() as tx:  # a single row has room
            tx.ledger.add(again)
    assert everything(store) == [row, again]
    fill(store, a_row, 50)
    assert len(everything(store)) == 52


def test_after_a_full_disk_nothing_of_the_block_is_written_even_if_it_goes_on(store: SqliteStore, a_row: Rows) -> None:
    errors = []

    def each_item_on_its_own() -> None:
        """As the queue does it: the error of one item is that item's."""
        with store.transaction() as tx:
            for n in range(5000):
                try:
                    with tx.savepoint():
                        tx.ledger.add(a_row(spiffe_id=WEB.child(f"w{n}")))
                except UnavailableError as e:
                    errors.append(e)

    with no_room(store, 3), pytest.raises(DatabaseUnavailable):
        each_item_on_its_own()
    assert len(errors) > 1
    assert everything(store) == []
    assert not store.writer.raw.in_transaction


def test_an_error_of_the_disk_undoes_the_transaction_and_the_next_one_works_again(
    store: SqliteStore, a_row: Rows
) -> None:
    with files_end_at(300_000):
        with pytest.raises(DatabaseUnavailable):
            fill(store, a_row)
        assert everything(store) == []
    fill(store, a_row, 50)
    assert len(everything(store)) == 50


def test_what_was_reported_as_committed_survives_a_kill(tmp_path: Path) -> None:
    program = f"""
import datetime as dt, os, sys
from pathlib import Path
from inborn_ca.store.sqlite.sqlite_store import open_sqlite
now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
store = open_sqlite(Path({str(tmp_path / "inborn.db")!r}), now=now)
n = 0
while True:
    with store.transaction() as tx:
        tx.meta.set("first", str(n))
        for m in range(20):
            tx.meta.set(f"n{{n}}.{{m}}", "x")
        tx.meta.set("last", str(n))
    print(n, flush=True)
    n += 1
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=env) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(15)][-1]
            process.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in process.stdout if line.endswith(b"\n"))])
        store = open_sqlite(tmp_path / "inborn.db", now=NOW)
        reader = store.reader()
        first, last = int(reader.meta.get("first") or -1), int(reader.meta.get("last") or -1)
        store.close()
        assert first == last >= said


def test_a_lock_of_another_process_is_an_outage(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.writer.raw.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(DatabaseUnavailable, match="another process"), store.transaction():
        pass
    other.execute("ROLLBACK")
    other.close()
    with store.transaction() as tx:
        tx.meta.set("a", "b")


# Rules of the tables.


def a_token(**changes: object) -> Token:
    token = Token(
        id=b"t" * 16,
        public_key=b"p" * 32,
        kind=MemberKind.AGENT,
        uses=1,
        created_at=NOW,
        expires_at=NOW + HOUR,
        created_by="root",
    )
    return replace(token, **changes)


def test_a_token_has_no_more_uses_than_it_says(store: SqliteStore) -> None:
    with store.transaction() as tx:
        tx.tokens.add(a_token(uses=2))
        tx.tokens.add_use(b"t" * 16, b"a" * 32, WEB, NOW)
        with pytest.raises(ConstraintBroken), tx.savepoint():
            tx.tokens.add_use(b"t" * 16, b"a" * 32, WEB, NOW)
        tx.tokens.add_use(b"t" * 16, b"b" * 32, WEB, NOW)
        with pytest.raises(ConstraintBroken, match="no use left"), tx.savepoint():
            tx.tokens.add_use(b"t" * 16, b"c" * 32, WEB, NOW)
        with pytest.raises(ConstraintBroken), tx.savepoint():
            tx.tokens.add_use(b"u" * 16, b"c" * 32, WEB, NOW)
        assert tx.tokens.count_uses(b"t" * 16) == 2
        assert [tx.tokens.find_use(b"t" * 16, key * 32) for key in (b"a", b"b", b"c")] == [WEB, WEB, None]


def test_a_withdrawn_token_stays_withdrawn_since_the_first_time(store: SqliteStore) -> None:
    with store.transaction() as tx:
        tx.tokens.add(a_token())
        tx.tokens.withdraw(b"t" * 16, NOW)
        tx.tokens.withdraw(b"t" * 16, NOW + HOUR)
        assert tx.tokens.get(b"t" * 16) == a_token(withdrawn_at=NOW)
        with pytest.raises(NotFoundError):
            tx.tokens.withdraw(b"u" * 16, NOW)


def test_a_number_never_falls_and_a_successor_never_changes(store: SqliteStore) -> None:
    requester = RequesterKey(key_hash=b"k" * 32, spki=b"s", spiffe_id=WEB, last_number=5)
    with store.transaction() as tx:
        tx.members.put_requester(requester)
        tx.members.put_requester(requester)
        with pytest.raises(ConstraintBroken), tx.savepoint():
            tx.members.put_requester(replace(requester, last_number=4))
        pinned = replace(requester, last_number=6, successor=b"n" * 32)
        tx.members.put_requester(pinned)
        for successor in (b"m" * 32, None):
            with pytest.raises(ConstraintBroken), tx.savepoint():
                tx.members.put_requester(replace(pinned, successor=successor))
        assert tx.members.requester(b"k" * 32) == pinned


def test_a_number_beyond_64_bits_is_refused(store: SqliteStore) -> None:
    with store.transaction() as tx, pytest.raises(InbornError):
        tx.members.put_requester(RequesterKey(key_hash=b"k" * 32, spki=b"s", spiffe_id=WEB, last_number=1 << 63))


def a_revocation(seq: int, **changes: object) -> RevocationRecord:
    record = RevocationRecord(
        seq=seq,
        kind=RevocationKind.SPIFFE_ID,
        value=b"spiffe://example.org/web",
        cut_offs={b"\1" * 20: b"\2" * 19, b"\3" * 20: None},
        reason=1,
        blocks=True,
        actor="root",
        note="",
        revoked_at=NOW,
        alive_until=NOW + HOUR,
    )
    return replace(record, **changes)


def test_the_revocation_log_has_no_gap_and_no_end(store: SqliteStore) -> None:
    with store.transaction() as tx:
        assert tx.revocations.seq() == 0
        tx.revocations.add(a_revocation(1))
        for seq in (1, 3, 0):
            with pytest.raises(InternalError, match="does not follow"):
                tx.revocations.add(a_revocation(seq))
        tx.revocations.add(a_revocation(2, alive_until=NOW - HOUR))
        assert tx.revocations.drop_expired(NOW, limit=10) == [2]
        assert tx.revocations.log() == [a_revocation(1)]
        dropped = a_revocation(2, alive_until=NOW - HOUR, dropped_at=NOW)
        assert tx.revocations.log(dropped=True) == [a_revocation(1), dropped]
        # What was dropped counts: a number is never used anew.
        assert tx.revocations.seq() == 2
        assert tx.revocations.drop_expired(NOW + HOUR, limit=10) == []
        assert tx.revocations.drop_expired(NOW + 2 * HOUR, limit=0) == []
        assert tx.revocations.drop_expired(NOW + 2 * HOUR, limit=10) == [1]
    with pytest.raises(sqlite3.IntegrityError, match="for ever"):
        store.writer.raw.execute("DELETE FROM revocation")


def test_the_first_block_of_the_targets_is_found(store: SqliteStore) -> None:
    block = Block(kind=BlockKind.ID, value="spiffe://example.org/web", since=NOW, actor="root", revocation_seq=1)
    other = replace(block, kind=BlockKind.ENTRY, value="e1")
    targets = [(BlockKind.KEY, "00"), (BlockKind.ID, block.value), (BlockKind.ENTRY, "e1")]
    with store.transaction() as tx:
        assert tx.blocks.find(targets) is None
        tx.blocks.add(other)
        tx.blocks.add(block)
        tx.blocks.add(replace(block, actor="somebody else"))
        assert tx.blocks.find(targets) == block
        assert tx.blocks.find([(BlockKind.ID_PREFIX, block.value)]) is None
        assert tx.blocks.all() == [other, block]
        assert tx.blocks.remove(BlockKind.ID, block.value)
        assert not tx.blocks.remove(BlockKind.ID, block.value)
        assert tx.blocks.find(targets) == other
        assert tx.blocks.remove(BlockKind.ENTRY, "e1")
        assert tx.blocks.find(targets) is None


def an_entry(**changes: object) -> Entry:
    entry = Entry(
        id="e1",
        spiffe_id=WEB,
        selectors=frozenset({parse_selector("unix:uid:1000")}),
        node=NodeMatch(kind=NodeKind.ANY),
        ttl=HOUR,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(entry, **changes)


def test_entries_are_added_once_and_changed_only_if_they_exist(store: SqliteStore) -> None:
    with store.transaction() as tx:
        tx.entries.add(an_entry())
        with pytest.raises(AlreadyExistsError):
            tx.entries.add(an_entry())
        changed = an_entry(dns_names=("web", "db"), revision=2, hint="ü")
        tx.entries.update(changed)
        assert tx.entries.all() == [changed]
        with pytest.raises(NotFoundError):
            tx.entries.update(an_entry(id="e2"))
        tx.entries.delete("e1")
        with pytest.raises(NotFoundError):
            tx.entries.delete("e1")
        assert tx.entries.get("e1") is None


# Audit trail and alarms.


def a_denial(**changes: object) -> AuditRow:
    row = AuditRow(at=NOW, actor="agent:a", action="issue.denied", subject="web", detail={"kind": "EntryDenied"})
    return replace(row, **changes)


def test_denials_alike_within_a_minute_become_one_row_with_a_count(store: SqliteStore) -> None:
    with store.transaction() as tx:
        ids = {tx.audit.add_denial(a_denial(at=NOW + n * dt.timedelta(seconds=1))) for n in range(50)}
        assert len(ids) == 1
        others = [
            a_denial(at=NOW + dt.timedelta(minutes=1)),
            a_denial(actor="agent:b"),
            a_denial(subject="db"),
            a_denial(action="renew.denied"),
            a_denial(detail={"kind": "Blocked"}),
        ]
        for row in others:
            tx.audit.add_denial(row)
        assert tx.audit.add(a_denial()) not in ids
    rows = store.reader().audit.rows(after_id=0, limit=100)
    assert [row.count for row in rows] == [50, 1, 1, 1, 1, 1, 1]
    assert rows[0] == a_denial(count=50, id=rows[0].id)


def test_the_audit_trail_is_read_forwards_and_from_its_end(store: SqliteStore) -> None:
    with store.transaction() as tx:
        for n in range(10):
            tx.audit.add(a_denial(action="even" if n % 2 == 0 else "odd", detail={"n": n, "list": [1, None, "ü"]}))
    reader = store.reader()

    def numbers(**arguments: object) -> list[object]:
        return [row.detail["n"] for row in reader.audit.rows(**({"after_id": 0, "limit": 100} | arguments))]

    assert numbers(limit=3) == [0, 1, 2]
    assert numbers(limit=3, newest=True) == [7, 8, 9]
    assert numbers(limit=2, newest=True, action="even") == [6, 8]
    first = reader.audit.rows(after_id=0, limit=1)[0].id
    assert numbers(after_id=first, limit=2) == [1, 2]
    assert reader.audit.rows(after_id=0, limit=1)[0].detail["list"] == [1, None, "ü"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET subject = 'x'",
        "UPDATE audit SET at = 0",
        "UPDATE audit SET count = 0",
        "UPDATE audit SET alike = NULL",
        "DELETE FROM audit",
        "UPDATE alarm SET message = 'x'",
        "UPDATE alarm SET acknowledged_by = 'x' WHERE acknowledged_at IS NOT NULL",
        "UPDATE alarm SET acknowledged_at = NULL WHERE acknowledged_at IS NOT NULL",
        "DELETE FROM alarm",
    ],
)
def test_what_was_written_down_is_not_rewritten(store: SqliteStore, statement: str) -> None:
    with store.transaction() as tx:
        tx.audit.add_denial(a_denial())
        alarm = tx.audit.raise_alarm(kind="a", subject="b", message="c", at=NOW)
        tx.audit.acknowledge_alarm(alarm, "root", NOW)
    with pytest.raises(sqlite3.IntegrityError, match=r"append only|never"):
        store.writer.raw.execute(statement)


def test_an_alarm_stays_open_until_it_is_acknowledged(store: SqliteStore) -> None:
    later = NOW + HOUR
    with store.transaction() as tx:
        first = tx.audit.raise_alarm(kind="two-holders", subject="a", message="first", at=NOW)
        assert tx.audit.raise_alarm(kind="two-holders", subject="a", message="second", at=later) == first
        other = tx.audit.raise_alarm(kind="two-holders", subject="b", message="m", at=NOW)
        assert [(a.id, a.count, a.message, a.opened_at) for a in tx.audit.alarms()] == [
            (first, 2, "first", NOW),
            (other, 1, "m", NOW),
        ]
        closed = tx.audit.acknowledge_alarm(first, "root", later)
        assert closed is not None
        assert (closed.acknowledged_by, closed.acknowledged_at) == ("root", later)
        assert tx.audit.acknowledge_alarm(first, "root", later) is None
        assert tx.audit.acknowledge_alarm(999, "root", later) is None
        assert [alarm.id for alarm in tx.audit.alarms()] == [other]
        assert tx.audit.alarms(acknowledged=True)[0] == closed
        # The same thing again is a new alarm.
        assert tx.audit.raise_alarm(kind="two-holders", subject="a", message="third", at=later) not in (first, other)
    actions = [row.action for row in store.reader().audit.rows(after_id=0, limit=100)]
    # The third and the second fall into one minute.
    assert actions == ["alarm.raise"] * 3 + ["alarm.acknowledge"]
