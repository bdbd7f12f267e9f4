"""The revocations of one revocation log, by what they match and by seq."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from inborn._internal.revocation.packed_serials import PackedSerials
from inborn._internal.revocation.revocation import Revocation, RevocationKind
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import DeniedError

__all__ = ["LogPart", "RevocationGap", "RevocationLog"]

SERIALS_OF_A_PART = 25_000  # just under a mebibyte: a message of gRPC's may have four
REVOCATIONS_OF_A_PART = 2_500  # of some hundred bytes each


class RevocationGap(DeniedError):
    """Revocations are missing between what is known and what arrived; nothing was applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """A part of a log's revocations, to hand on: single certificates as packed records, or revocations as they are."""

    authorities: tuple[bytes, ...] = ()
    records: bytes = b""
    revocations: tuple[Revocation, ...] = ()


class RevocationLog:
    """The revocations that are alive, of a log of this length. Iterating gives them by rising seq.

    One thread may change it while others call `find`: they see the revocations from before or after.
    """

    __slots__ = (
        "_by_authority",
        "_by_id",
        "_by_key",
        "_by_prefix",
        "_by_serial",
        "_others",
        "_packed",
        "log_id",
        "seq",
    )

    def __init__(self, log_id: bytes, seq: int, revocations: Iterable[Revocation] = ()) -> None:
        self.log_id = log_id
        self.seq = seq
        self._packed = PackedSerials()
        self._others: dict[int, Revocation] = {}
        self._by_serial: dict[bytes, list[Revocation]] = {}
        self._by_key: dict[bytes, list[Revocation]] = {}
        self._by_id: dict[bytes, list[Revocation]] = {}
        self._by_prefix: dict[bytes, list[Revocation]] = {}
        self._by_authority: dict[bytes, list[Revocation]] = {}
        for revocation in revocations:
            self.add(revocation)

    def __len__(self) -> int:
        return len(self._packed) + len(self._others)

    def __iter__(self) -> Iterator[Revocation]:
        others = [self._others[seq] for seq in sorted(self._others)]
        return heapq.merge(self._packed, others, key=attrgetter("seq"))

    def __contains__(self, seq: object) -> bool:
        return isinstance(seq, int) and (seq in self._others or self._packed.has(seq))

    def add(self, revocation: Revocation) -> None:
        """Raises `RevocationGap` if there is a revocation of its seq, or if it lies beyond the log's length."""
        if revocation.seq > self.seq:
            raise RevocationGap(f"revocation log has revocation {revocation.seq} beyond its length {self.seq}")
        if revocation.seq in self:
            raise RevocationGap(f"revocation log has two revocations of seq {revocation.seq}")
        if not self._packed.add(revocation):
            self._index(revocation)

    def append(self, revocation: Revocation) -> None:
        """Add the revocation that comes next, and be one longer."""
        if not self._packed.add(revocation):
            self._index(revocation)
        self.seq = revocation.seq

    def drop(self, seq: int) -> None:
        """Take a revocation out, if it is there."""
        if self._packed.drop(seq):
            return
        revocation = self._others.pop(seq, None)
        if revocation is None:
            return
        index = self._index_of(revocation.kind)
        others = [other for other in index[revocation.value] if other is not revocation]
        if others:
            index[revocation.value] = others
        else:
            del index[revocation.value]

    def find(self, facts: CertificateFacts) -> Revocation | None:
        """The revocation that this certificate falls under, if there is one."""
        revocation = self._packed.find(facts.serial, facts.authority)
        if revocation is not None or not self._others:
            return revocation
        revocation = _first(self._by_serial.get(facts.serial), facts) or _first(self._by_key.get(facts.key_hash), facts)
        if revocation is None and self._by_authority:
            revocation = _first(self._by_authority.get(facts.authority), facts)
        if revocation is None and self._by_id:
            revocation = _first(self._by_id.get(str(facts.spiffe_id).encode()), facts)
        if revocation is None and self._by_prefix:
            for prefix in _prefixes(facts.spiffe_id):
                revocation = revocation or _first(self._by_prefix.get(prefix), facts)
        return revocation

    def of_target(self, kind: RevocationKind, value: bytes) -> list[Revocation]:
        """The revocations that name this."""
        revocations = list(self._index_of(kind).get(value, ()))
        if kind is RevocationKind.SERIAL:
            packed = self._packed.of_serial(value)
            if packed is not None:
                revocations.append(packed)
        return revocations

    def drop_covered(self, by: RevocationLog) -> None:
        """Take out each revocation that one of the other log covers."""
        self._packed.drop_covered(by._packed)
        for serial in by._by_serial:
            packed = self._packed.of_serial(serial)
            if packed is not None and by.covers(packed):
                self.drop(packed.seq)
        for revocation in list(self._others.values()):
            if by.covers(revocation):
                self.drop(revocation.seq)

    def covers(self, revocation: Revocation) -> bool:
        """Whether one of these revocations matches whatever that revocation matches."""
        return any(mine.covers(revocation) for mine in self.of_target(revocation.kind, revocation.value))

    def united(self, other: RevocationLog) -> RevocationLog:
        """This log with what the other one knows besides. Of the same seq, the revocation here counts."""
        missing = [revocation for revocation in other if revocation.seq not in self]
        if not missing:
            return self
        return RevocationLog(self.log_id, self.seq, heapq.merge(self, missing, key=attrgetter("seq")))

    # -- handing on ----------------------------------------------------------------------------------------------------

    def parts(self) -> Iterator[LogPart]:
        """The log in parts of about a mebibyte; at least one. `extend` of each makes it anew.

        The log may change between two parts: what is added then is left out, what is dropped may be.
        """
        authorities, pieces = self._packed.authorities, self._packed.pieces(SERIALS_OF_A_PART)
        others = tuple(self._others.values())
        is_empty = not others
        for piece in pieces:
            is_empty = False
            yield LogPart(authorities=authorities, records=piece)
        for at in range(0, len(others), REVOCATIONS_OF_A_PART):
            yield LogPart(revocations=others[at : at + REVOCATIONS_OF_A_PART])
        if is_empty:
            yield LogPart()

    def extend(self, part: LogPart) -> None:
        """Take in a part of another log. Raises `InvalidRevocation`, `RevocationGap`; the log is of no use then."""
        for odd in self._packed.extend(part.authorities, part.records):
            self.add(odd)
        if self._packed.last_seq > self.seq:
            raise RevocationGap(f"revocation log has revocation {self._packed.last_seq} beyond its length {self.seq}")
        twice = next((seq for seq in self._others if self._packed.has(seq)), None) if part.records else None
        if twice is not None:
            raise RevocationGap(f"revocation log has two revocations of seq {twice}")
        for revocation in part.revocations:
            self.add(revocation)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _index(self, revocation: Revocation) -> None:
        self._others[revocation.seq] = revocation
        self._index_of(revocation.kind).setdefault(revocation.value, []).append(revocation)

    def _index_of(self, kind: RevocationKind) -> dict[bytes, list[Revocation]]:
        match kind:
            case RevocationKind.SERIAL:
                return self._by_serial
            case RevocationKind.KEY:
                return self._by_key
            case RevocationKind.SPIFFE_ID:
                return self._by_id
            case RevocationKind.ID_PREFIX:
                return self._by_prefix
            case RevocationKind.AUTHORITY:
                return self._by_authority


def _first(revocations: list[Revocation] | None, facts: CertificateFacts) -> Revocation | None:
    """The first of these revocations that matches."""
    if revocations:
        for revocation in revocations:
            if revocation.matches(facts):
                return revocation
    return None


def _prefixes(spiffe_id: SpiffeId) -> Iterator[bytes]:
    """The ID itself and all its parents, by whole segments."""
    text = str(spiffe_id)
    root = len("spiffe://") + len(spiffe_id.trust_domain.name)
    while len(text) > root:
        yield text.encode()
        text = text[: text.rindex("/")]
    yield text.encode()
