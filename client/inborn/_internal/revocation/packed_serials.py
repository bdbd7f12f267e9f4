"""Revocations of single certificates, packed: what an expansion makes of a node, an entry or a selector.

Such a revocation names a serial, one authority, and that serial as the cut-off. As an object it takes a kibibyte, and a
selector can touch a million certificates. Here it takes 39 bytes and a place in a hash table.

Theory of operation. Records lie one after the other by rising seq in one `bytearray`, never move, and are found by seq
by bisection. The table has the number of a record (from 1) at the place that the serial's hash names, or at the next
free one (linear probing, at most a third full); a serial is packed once at most. A record is there before the table
names it, a larger table is built aside and put in place at once, and a dropped record is marked: so whoever looks up
in another thread sees the revocations from before or after.
"""

from __future__ import annotations

import datetime as dt
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from inborn._internal.revocation.revocation import InvalidRevocation, Revocation, RevocationKind

__all__ = ["RECORD_SIZE", "PackedSerials"]

_RECORD = struct.Struct(">QqHB20s")
"""seq; microseconds since the epoch, or `_NO_TIME`; number of the authority; flags; serial, with leading zeros."""
RECORD_SIZE = _RECORD.size
_SERIAL_SIZE = 20  # bytes, RFC 5280 4.1.2.2
_NO_SERIAL = bytes(_SERIAL_SIZE)
_FLAGS_AT = 18  # bytes from a record's beginning
_REASON, _BLOCKS, _DEAD = 0x3F, 0x40, 0x80  # bits of the flags
_NO_TIME = -(2**63)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_LATEST = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_EARLIEST = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_MAX_AUTHORITIES = 0xFFFF  # what a record can number; a CA has a few alive
_MAX_AUTHORITY_SIZE = 64  # bytes of a key identifier
_SMALLEST_TABLE = 64
_SLOTS_FOR_EACH = 3  # at least; for half of the room a look-up that finds nothing compares three times as often
_MANY_DEAD = 4096  # records; fewer are not worth moving the others


class PackedSerials:
    """Revocations by serial in little room. One thread may change it while others look up."""

    __slots__ = ("_authorities", "_dead", "_last", "_numbers", "_view")

    def __init__(self) -> None:
        self._authorities: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._view: tuple[bytearray, array[int]] = bytearray(), _table(_SMALLEST_TABLE)
        """Records and table, always read together."""
        self._last = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._view[0]) // RECORD_SIZE - self._dead

    def __iter__(self) -> Iterator[Revocation]:
        """The revocations by rising seq, as they are when each is reached; those that are added meanwhile are left
        out."""
        records, _ = self._view
        for at in range(0, len(records), RECORD_SIZE):
            if not records[at + _FLAGS_AT] & _DEAD:
                yield self._revocation(records, at)

    def add(self, revocation: Revocation) -> bool:
        """Take a revocation in. False: it is of another form, has no higher seq than all before it, or its serial is
        packed already; it has to be kept elsewhere."""
        if (
            revocation.kind is not RevocationKind.SERIAL
            or len(revocation.cut_offs) != 1
            or not self._last < revocation.seq < 2**64
        ):
            return False
        ((authority, limit),) = revocation.cut_offs.items()
        if limit != revocation.value or not 0 <= revocation.reason <= _REASON or len(authority) > _MAX_AUTHORITY_SIZE:
            return False
        revoked_at = revocation.revoked_at
        if revoked_at is not None and revoked_at.tzinfo is not dt.UTC:
            return False
        number = self._number(authority)
        if number is None:
            return False
        microseconds = _NO_TIME if revoked_at is None else (revoked_at - _EPOCH) // _MICROSECOND
        flags = revocation.reason | (_BLOCKS if revocation.blocks else 0)
        serial = revocation.value.rjust(_SERIAL_SIZE, b"\0")
        return self._append(_RECORD.pack(revocation.seq, microseconds, number, flags, serial), serial, revocation.seq)

    def find(self, serial: bytes, authority: bytes) -> Revocation | None:
        """The revocation of this certificate."""
        records, table = self._view
        padded = serial.rjust(_SERIAL_SIZE, b"\0")
        mask = len(table) - 1
        place = hash(padded) & mask
        while number := table[place]:
            end = number * RECORD_SIZE
            if records[end - _SERIAL_SIZE : end] == padded:
                at = end - RECORD_SIZE
                if records[at + _FLAGS_AT] & _DEAD:
                    return None
                revocation = self._revocation(records, at)
                return revocation if authority in revocation.cut_offs else None
            place = (place + 1) & mask
        return None

    def of_serial(self, serial: bytes) -> Revocation | None:
        """The revocation that names this serial, whichever authority's it is."""
        at = self._find_serial(serial.rjust(_SERIAL_SIZE, b"\0"))
        records, _ = self._view
        return None if at is None or records[at + _FLAGS_AT] & _DEAD else self._revocation(records, at)

    def has(self, seq: int) -> bool:
        return self._find_seq(seq) is not None

    def drop(self, seq: int) -> bool:
        """Take a revocation out. False: it is not here."""
        at = self._find_seq(seq)
        if at is None:
            return False
        records, _ = self._view
        records[at + _FLAGS_AT] |= _DEAD
        self._dead += 1
        self._move_if_many_are_dead()
        return True

    def drop_covered(self, by: PackedSerials) -> None:
        """Take out what a revocation of the other one says as well (that blocks, if the one here does)."""
        records, _ = self._view
        for at, (_, _, number, flags, serial) in enumerate(_RECORD.iter_unpack(records)):
            if not flags & _DEAD and by.says(serial, self._authorities[number], flags & _BLOCKS):
                records[at * RECORD_SIZE + _FLAGS_AT] |= _DEAD
                self._dead += 1
        self._move_if_many_are_dead()

    def says(self, padded: bytes, authority: bytes, blocks: int) -> bool:
        """Whether there is a revocation for this serial, which has 20 bytes here, and this authority."""
        at = self._find_serial(padded)
        if at is None:
            return False
        records, _ = self._view
        _, _, number, flags, _ = _RECORD.unpack_from(records, at)
        return self._authorities[number] == authority and not flags & _DEAD and flags & blocks == blocks

    @property
    def last_seq(self) -> int:
        """No revocation with a seq up to this one is packed any more."""
        return self._last

    # -- handing on ----------------------------------------------------------------------------------------------------

    @property
    def authorities(self) -> tuple[bytes, ...]:
        """What the numbers in the records mean."""
        return tuple(self._authorities)

    def pieces(self, count: int) -> Iterator[bytes]:
        """The records as they are now, so many at a time; revocations may be added and dropped between two pieces."""
        records, _ = self._view
        end, step = len(records), count * RECORD_SIZE
        for at in range(0, end, step):
            yield bytes(records[at : min(at + step, end)])

    def extend(self, authorities: Sequence[bytes], piece: bytes) -> Iterator[Revocation]:
        """Take in a piece of another one's records; yields the revocations that cannot be packed here.

        Raises `InvalidRevocation` at the first record that is none: the rest is not taken in.
        """
        if len(piece) % RECORD_SIZE:
            raise InvalidRevocation(
                f"packed revocations have {len(piece)} bytes, which is no multiple of {RECORD_SIZE}"
            )
        for authority in authorities:
            if not 1 <= len(authority) <= _MAX_AUTHORITY_SIZE:
                raise InvalidRevocation(f"key identifier of an authority has {len(authority)} bytes")
        numbers = [self._number(authority) for authority in authorities]
        for at, (seq, microseconds, number, flags, serial) in enumerate(_RECORD.iter_unpack(piece)):
            if flags & _DEAD:
                continue
            if seq <= self._last or number >= len(numbers) or serial == _NO_SERIAL:
                raise InvalidRevocation(
                    f"packed revocation {seq} follows on {self._last}, or names no authority or serial"
                )
            if microseconds != _NO_TIME and not _EARLIEST <= microseconds <= _LATEST:
                raise InvalidRevocation(f"packed revocation {seq} has a time out of range: {microseconds} us")
            mine = numbers[number]
            if mine == number:
                record = piece[at * RECORD_SIZE : (at + 1) * RECORD_SIZE]
            elif mine is not None:
                record = _RECORD.pack(seq, microseconds, mine, flags, serial)
            if mine is None or not self._append(record, serial, seq):
                self._last = seq
                yield _revocation(seq, microseconds, authorities[number], flags, serial)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _number(self, authority: bytes) -> int | None:
        number = self._numbers.get(authority)
        if number is None and len(self._authorities) < _MAX_AUTHORITIES:
            number = self._numbers[authority] = len(self._authorities)
            self._authorities.append(authority)
        return number

    def _append(self, record: bytes, serial: bytes, seq: int) -> bool:
        """False: the serial is here already, be it dropped."""
        records, table = self._view
        number = len(records) // RECORD_SIZE + 1
        if number * _SLOTS_FOR_EACH > len(table):
            table = _table(len(table) * 2)
            _fill(table, records)
            self._view = records, table
        mask = len(table) - 1
        place = hash(serial) & mask
        while known := table[place]:
            if records[known * RECORD_SIZE - _SERIAL_SIZE : known * RECORD_SIZE] == serial:
                return False
            place = (place + 1) & mask
        records += record
        table[place] = number
        self._last = seq
        return True

    def _find_serial(self, padded: bytes) -> int | None:
        """Where its record begins, be it dropped."""
        records, table = self._view
        mask = len(table) - 1
        place = hash(padded) & mask
        while number := table[place]:
            end = number * RECORD_SIZE
            if records[end - _SERIAL_SIZE : end] == padded:
                return end - RECORD_SIZE
            place = (place + 1) & mask
        return None

    def _find_seq(self, seq: int) -> int | None:
        """Where the record of this seq begins, unless it was dropped."""
        records, _ = self._view
        count = len(records) // RECORD_SIZE

        def seq_of(index: int) -> int:
            return int.from_bytes(records[index * RECORD_SIZE : index * RECORD_SIZE + 8], "big")

        index = bisect_left(range(count), seq, key=seq_of)
        at = index * RECORD_SIZE
        if index == count or seq_of(index) != seq or records[at + _FLAGS_AT] & _DEAD:
            return None
        return at

    def _move_if_many_are_dead(self) -> None:
        """Leave the dropped records behind."""
        records, _ = self._view
        if self._dead <= max(_MANY_DEAD, len(records) // RECORD_SIZE // 2):
            return
        alive = bytearray()
        for at in range(0, len(records), RECORD_SIZE):
            if not records[at + _FLAGS_AT] & _DEAD:
                alive += records[at : at + RECORD_SIZE]
        size = _SMALLEST_TABLE
        while len(alive) // RECORD_SIZE * _SLOTS_FOR_EACH > size:
            size *= 2
        table = _table(size)
        _fill(table, alive)
        self._view, self._dead = (alive, table), 0

    def _revocation(self, records: bytearray, at: int) -> Revocation:
        seq, microseconds, number, flags, serial = _RECORD.unpack_from(records, at)
        return _revocation(seq, microseconds, self._authorities[number], flags, serial)


def _revocation(seq: int, microseconds: int, authority: bytes, flags: int, serial: bytes) -> Revocation:
    value = serial.lstrip(b"\0")
    return Revocation(
        seq=seq,
        kind=RevocationKind.SERIAL,
        value=value,
        cut_offs={authority: value},
        reason=flags & _REASON,
        blocks=bool(flags & _BLOCKS),
        revoked_at=None if microseconds == _NO_TIME else _EPOCH + dt.timedelta(microseconds=microseconds),
    )


def _table(size: int) -> array[int]:
    return array("I", [0]) * size


def _fill(table: array[int], records: bytearray) -> None:
    """Name every record in an empty table."""
    mask = len(table) - 1
    for number, (_, _, _, _, serial) in enumerate(_RECORD.iter_unpack(records), 1):
        place = hash(serial) & mask
        while table[place]:
            place = (place + 1) & mask
        table[place] = number
