"""What the signer remembers of those who ask often: their certificates' rows, keys and enrollments.

Rows of the ledger never change. Keys and enrollments change by `put_key` and `put_member` alone, which write through.
Used numbers are gathered and written once for a group; one that is not written was not answered either, since the whole
group is undone then. Gain: 90 us instead of 170 us for a single request in the signer.
"""

from __future__ import annotations

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.records import Issued, Member, RequesterKey
from inborn_ca.store.interface import Transaction

__all__ = ["RequesterCache"]

MAX_REMEMBERED = 10_000  # of each; about 1 KiB


class RequesterCache:
    """Used from one thread, inside of groups."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Issued] = {}
        self._keys: dict[bytes, RequesterKey] = {}
        self._members: dict[SpiffeId, Member] = {}
        self._used: dict[bytes, tuple[int, int]] = {}

    def row(self, tx: Transaction, serial: bytes) -> Issued | None:
        """A row of the ledger."""
        row = self._rows.get(serial)
        if row is None:
            row = tx.ledger.get(serial)
            if row is not None:
                if len(self._rows) >= MAX_REMEMBERED:
                    self._rows.clear()
                self._rows[serial] = row
        return row

    def key(self, tx: Transaction, key_hash: bytes) -> RequesterKey | None:
        """A key with its numbers, those of this group included."""
        key = self._keys.get(key_hash)
        if key is None:
            key = tx.members.requester(key_hash)
            if key is not None:
                if len(self._keys) >= MAX_REMEMBERED:
                    self._keys.clear()
                self._keys[key_hash] = key
        numbers = self._used.get(key_hash)
        if key is None or numbers is None:
            return key
        return _with_numbers(key, *numbers)

    def member(self, tx: Transaction, spiffe_id: SpiffeId) -> Member | None:
        member = self._members.get(spiffe_id)
        if member is None:
            member = tx.members.get(spiffe_id)
            if member is not None:
                if len(self._members) >= MAX_REMEMBERED:
                    self._members.clear()
                self._members[spiffe_id] = member
        return member

    def use_number(self, key: RequesterKey, last: int, used: int) -> RequesterKey:
        """Take a number: it stays used, also when the request is refused later."""
        self._used[key.key_hash] = (last, used)
        return _with_numbers(key, last, used)

    def put_key(self, tx: Transaction, key: RequesterKey) -> None:
        """Write a key with its successor. It is read anew afterwards, also if the command is undone."""
        tx.members.put_requester(key)
        self._keys.pop(key.key_hash, None)

    def put_member(self, tx: Transaction, member: Member) -> None:
        """Write an enrollment. It is read anew afterwards, also if the command is undone."""
        tx.members.put(member)
        self._members.pop(member.spiffe_id, None)

    def flush(self, tx: Transaction) -> None:
        """Write the numbers that were used; at the end of a group, outside of any savepoint."""
        if self._used:
            tx.members.use_numbers((key_hash, last, used) for key_hash, (last, used) in sorted(self._used.items()))
            for key_hash, (last, used) in self._used.items():
                if key_hash in self._keys:
                    self._keys[key_hash] = _with_numbers(self._keys[key_hash], last, used)
            self._used.clear()

    def clear(self) -> None:
        """Nothing of the group happened."""
        self._rows.clear()
        self._keys.clear()
        self._members.clear()
        self._used.clear()


def _with_numbers(key: RequesterKey, last: int, used: int) -> RequesterKey:
    """What `dataclasses.replace` would make, 3 us sooner a request."""
    return RequesterKey(
        key_hash=key.key_hash,
        spki=key.spki,
        spiffe_id=key.spiffe_id,
        last_number=last,
        used_numbers=used,
        successor=key.successor,
    )
