"""The ledger when it is large: inserting, pruning, looking up a serial, listing one ID's living certificates.

A million rows; ten million with `--full`. The rows are put there by plain statements, since only what comes afterwards
is measured.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import time
from collections.abc import Callable, Iterator

from benchmarks.machine import measure
from benchmarks.report import Figure, percentile
from benchmarks.signer import Signer, run_now, signer
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.certificates.serial import RANDOM_OCTETS, serial_floor
from inborn_ca.model.records import CertificateKind, Issued
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.maintenance import PRUNE_ROWS
from inborn_ca.signer.queue import Finish
from inborn_ca.store.interface import CertificateFilter, Transaction

__all__ = ["run"]

SMALL = 10_000
LARGE, FULL = 1_200_000, 10_000_000
ALIVE = 1_000_000
PRUNED = 100_000  # rows that are past their retention
IDENTITIES = 1000
GROUPS = 200  # of 100 rows each

_HOUR = dt.timedelta(hours=1)
_MICRO = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INSERT = (
    "INSERT OR IGNORE INTO issued (serial, identity, kind, key_hash, authority, issued_at, not_after, entry, node, "
    "selectors) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def run(*, full: bool = False) -> list[Figure]:
    rows = FULL if full else LARGE
    with signer() as little, signer() as s:
        _fill(little, SMALL, alive=SMALL)
        begun = time.perf_counter()
        _fill(s, rows, alive=ALIVE)
        filled = time.perf_counter() - begun
        with measure([]) as spent:
            small, large = _insert(little, s)
        figures = [
            Figure(
                name=f"insert at {rows / 1e6:g} million rows / at {SMALL}",
                value=large / small,
                unit="x",
                bar=1.3,
                others=spent.others,
                detail=f"{large * 1e6:.1f} us a row in groups of 100, durable; filled in {filled:.0f} s",
            )
        ]
        figures += _reads(s, rows)
        figures.append(_prune(s))
    return figures


def _fill(s: Signer, rows: int, *, alive: int) -> None:
    """Past retention, then expired, then alive, by rising serial and so by rising time."""
    state = s.state
    now = state.clock()
    run_now(s.queue, _rows(s, [_name(s, number) for number in range(IDENTITIES)]))  # so that the names are there
    connection = state.store.writer.raw  # type: ignore[attr-defined]
    (first,) = connection.execute("SELECT id FROM identity WHERE spiffe_id = ?", (str(_name(s, 0)),)).fetchone()
    (authority,) = connection.execute("SELECT max(id) FROM authority_name").fetchone()
    (selectors,) = connection.execute("SELECT max(id) FROM selector_set").fetchone()
    old = min(PRUNED, rows - alive)
    retention = state.lifetimes.ledger_retention
    spans = [
        (old, now - retention - 10 * _HOUR, now - retention - 2 * _HOUR),
        (rows - alive - old, now - retention + 2 * _HOUR, now - 2 * _HOUR),
        (alive, now - 0.9 * _HOUR, now - dt.timedelta(seconds=1)),
    ]

    def values() -> Iterator[tuple[object, ...]]:
        for count, start, end in spans:
            step = (end - start) / max(count, 1)
            at, at_step = (start - _EPOCH) // _MICRO, step // _MICRO
            for number in range(count):
                issued = at + number * at_step
                # Milliseconds, and the counter, as the signer makes them; the key's hash is random as keys are.
                serial = ((issued // 1000) << 16 | number & 0xFFFF).to_bytes(8, "big")
                yield (
                    serial + number.to_bytes(RANDOM_OCTETS, "big"), first + number % IDENTITIES, 1,
                    random.randbytes(32), authority, issued, issued + 3_600_000_000, None, None, selectors,
                )  # fmt: skip

    connection.execute("BEGIN")
    connection.executemany(_INSERT, values())
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _name(s: Signer, number: int) -> SpiffeId:
    return SpiffeId(trust_domain=s.state.trust_domain, path=f"/w/{number}")


def _rows(s: Signer, names: list[SpiffeId]) -> Callable[[Transaction, Changes], Finish]:
    """A command that writes a row for each as an issue does, without signatures."""
    state = s.state

    def command(tx: Transaction, changes: Changes) -> Finish:
        now = state.clock()
        for spiffe_id in names:
            tx.ledger.add(
                Issued(
                    serial=state.serials.next(now, os.urandom(RANDOM_OCTETS)),
                    spiffe_id=spiffe_id,
                    kind=CertificateKind.WORKLOAD,
                    key_hash=os.urandom(32),
                    authority=state.active.key_id,
                    issued_at=now,
                    not_after=now + _HOUR,
                    selectors=(Selector("unix", "uid:1000"),),
                )
            )
        return lambda: None

    return command


def _insert(*signers: Signer) -> list[float]:
    """Seconds a row in each, wall time of the median group, since the disk counts. A group of each in turn."""
    seconds: list[list[float]] = [[] for _ in signers]
    for group in range(GROUPS):
        for s, times in zip(signers, seconds, strict=True):
            names = [_name(s, (group * 100 + number) % IDENTITIES) for number in range(100)]
            begun = time.perf_counter()
            run_now(s.queue, _rows(s, names))
            times.append((time.perf_counter() - begun) / 100)
    return [percentile(times, 0.5) for times in seconds]


def _reads(s: Signer, rows: int) -> list[Figure]:
    reader = s.state.store.reader()
    now = s.state.clock()
    looked = []
    with measure([]) as spent:
        for _ in range(500):
            at = now - random.random() * _HOUR
            near = reader.ledger.select(CertificateFilter(after_serial=serial_floor(at), limit=1))
            begun = time.perf_counter()
            reader.ledger.get(near[0].serial)
            looked.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        found = reader.ledger.select(CertificateFilter(spiffe_id=_name(s, 7), alive_at=now))
        listed = time.perf_counter() - begun
    if len(found) < ALIVE / IDENTITIES:
        raise RuntimeError(f"{len(found)} certificates of one ID are alive")
    return [
        Figure(
            name=f"look-up by serial in {rows / 1e6:g} million rows",
            value=percentile(looked, 0.5) * 1000,
            unit="ms",
            bar=1,
            others=spent.others,
            detail=f"p99 {percentile(looked, 0.99) * 1000:.2f} ms",
        ),
        Figure(
            name="list one ID's living certificates among a million alive",
            value=listed,
            unit="s",
            bar=1,
            others=spent.others,
            detail=f"{len(found)} found",
        ),
    ]


def _prune(s: Signer) -> Figure:
    """Round by round, as the signer does when it is idle; the longest one is how long somebody may wait."""
    state = s.state
    seconds, deleted = [], PRUNE_ROWS
    total = 0

    def command(tx: Transaction, changes: Changes) -> Finish:
        nonlocal deleted
        now = state.clock()
        deleted = tx.prune(
            issued_expired_before=now - state.lifetimes.ledger_retention,
            audit_before=now - state.lifetimes.audit_retention,
            limit=PRUNE_ROWS,
        )
        return lambda: None

    with measure([]) as spent:
        while deleted >= PRUNE_ROWS:
            begun = time.perf_counter()
            run_now(s.queue, command)
            seconds.append(time.perf_counter() - begun)
            total += deleted
    return Figure(
        name="longest pause while old rows are pruned",
        value=max(seconds) * 1000,
        unit="ms",
        bar=50,
        others=spent.others,
        detail=f"{total} rows in {len(seconds)} rounds, median {percentile(seconds, 0.5) * 1000:.0f} ms",
    )
