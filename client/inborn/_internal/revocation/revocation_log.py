"""The rules of one revocation log, by what they match and by seq."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from inborn._internal.revocation.packed_serials import PackedSerials
from inborn._internal.revocation.revocation import RevocationRule, RuleKind
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import DeniedError

__all__ = ["RevocationGap", "RuleLog", "RulesPart"]

_RECORDS_OF_A_PART = 25_000  # just under a mebibyte: a message of gRPC's may have four
_RULES_OF_A_PART = 2_500  # of some hundred octets each


class RevocationGap(DeniedError):
    """Rules are missing between what is known and what arrived; nothing was applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesPart:
    """A part of a log's rules, to hand on: single certificates as packed records, or rules as they are."""

    authorities: tuple[bytes, ...] = ()
    records: bytes = b""
    rules: tuple[RevocationRule, ...] = ()


class RuleLog:
    """The rules that are alive, of a log of this length. Iterating gives them by rising seq.

    One thread may change it while others call `find`: they see the rules from before or after.
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

    def __init__(self, log_id: bytes, seq: int, rules: Iterable[RevocationRule] = ()) -> None:
        self.log_id = log_id
        self.seq = seq
        self._packed = PackedSerials()
        self._others: dict[int, RevocationRule] = {}
        self._by_serial: dict[bytes, list[RevocationRule]] = {}
        self._by_key: dict[bytes, list[RevocationRule]] = {}
        self._by_id: dict[bytes, list[RevocationRule]] = {}
        self._by_prefix: dict[bytes, list[RevocationRule]] = {}
        self._by_authority: dict[bytes, list[RevocationRule]] = {}
        for rule in rules:
            self.add(rule)

    def __len__(self) -> int:
        return len(self._packed) + len(self._others)

    def __iter__(self) -> Iterator[RevocationRule]:
        others = [self._others[seq] for seq in sorted(self._others)]
        return heapq.merge(self._packed, others, key=attrgetter("seq"))

    def __contains__(self, seq: object) -> bool:
        return isinstance(seq, int) and (seq in self._others or self._packed.has(seq))

    def add(self, rule: RevocationRule) -> None:
        """Raises `RevocationGap` if there is a rule of its seq, or if it lies beyond the log's length."""
        if rule.seq > self.seq:
            raise RevocationGap(f"revocation log has rule {rule.seq} beyond its length {self.seq}")
        if rule.seq in self:
            raise RevocationGap(f"revocation log has two rules of seq {rule.seq}")
        if not self._packed.add(rule):
            self._index(rule)

    def append(self, rule: RevocationRule) -> None:
        """Add the rule that comes next, and be one longer."""
        if not self._packed.add(rule):
            self._index(rule)
        self.seq = rule.seq

    def drop(self, seq: int) -> None:
        """Take a rule out, if it is there."""
        if self._packed.drop(seq):
            return
        rule = self._others.pop(seq, None)
        if rule is None:
            return
        index = self._index_of(rule.kind)
        others = [other for other in index[rule.value] if other is not rule]
        if others:
            index[rule.value] = others
        else:
            del index[rule.value]

    def find(self, facts: CertificateFacts) -> RevocationRule | None:
        """The rule that this certificate falls under, if there is one."""
        rule = self._packed.find(facts.serial, facts.authority)
        if rule is not None or not self._others:
            return rule
        rule = _first(self._by_serial.get(facts.serial), facts) or _first(self._by_key.get(facts.key_hash), facts)
        if rule is None and self._by_authority:
            rule = _first(self._by_authority.get(facts.authority), facts)
        if rule is None and self._by_id:
            rule = _first(self._by_id.get(str(facts.spiffe_id).encode()), facts)
        if rule is None and self._by_prefix:
            for prefix in _prefixes(facts.spiffe_id):
                rule = rule or _first(self._by_prefix.get(prefix), facts)
        return rule

    def of_target(self, kind: RuleKind, value: bytes) -> list[RevocationRule]:
        """The rules that name this."""
        rules = list(self._index_of(kind).get(value, ()))
        if kind is RuleKind.SERIAL:
            packed = self._packed.of_serial(value)
            if packed is not None:
                rules.append(packed)
        return rules

    def drop_covered(self, by: RuleLog) -> None:
        """Take out each rule that one of the other log covers."""
        self._packed.drop_covered(by._packed)
        for serial in by._by_serial:
            packed = self._packed.of_serial(serial)
            if packed is not None and by.covers(packed):
                self.drop(packed.seq)
        for rule in list(self._others.values()):
            if by.covers(rule):
                self.drop(rule.seq)

    def covers(self, rule: RevocationRule) -> bool:
        """Whether one of these rules matches whatever that rule matches."""
        return any(mine.covers(rule) for mine in self.of_target(rule.kind, rule.value))

    def united(self, other: RuleLog) -> RuleLog:
        """This log with what the other one knows besides. Of the same seq, the rule here counts."""
        missing = [rule for rule in other if rule.seq not in self]
        if not missing:
            return self
        return RuleLog(self.log_id, self.seq, heapq.merge(self, missing, key=attrgetter("seq")))

    # -- handing on ----------------------------------------------------------------------------------------------------

    def parts(self) -> Iterator[RulesPart]:
        """The log in parts of about a mebibyte; at least one. `extend` of each makes it anew.

        The log may change between two parts: what is added then is left out, what is dropped may be.
        """
        authorities, pieces = self._packed.authorities, self._packed.pieces(_RECORDS_OF_A_PART)
        others = tuple(self._others.values())
        is_empty = not others
        for piece in pieces:
            is_empty = False
            yield RulesPart(authorities=authorities, records=piece)
        for at in range(0, len(others), _RULES_OF_A_PART):
            yield RulesPart(rules=others[at : at + _RULES_OF_A_PART])
        if is_empty:
            yield RulesPart()

    def extend(self, part: RulesPart) -> None:
        """Take in a part of another log. Raises `InvalidRule`, `RevocationGap`; the log is of no use then."""
        for odd in self._packed.extend(part.authorities, part.records):
            self.add(odd)
        if self._packed.last_seq > self.seq:
            raise RevocationGap(f"revocation log has rule {self._packed.last_seq} beyond its length {self.seq}")
        twice = next((seq for seq in self._others if self._packed.has(seq)), None) if part.records else None
        if twice is not None:
            raise RevocationGap(f"revocation log has two rules of seq {twice}")
        for rule in part.rules:
            self.add(rule)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _index(self, rule: RevocationRule) -> None:
        self._others[rule.seq] = rule
        self._index_of(rule.kind).setdefault(rule.value, []).append(rule)

    def _index_of(self, kind: RuleKind) -> dict[bytes, list[RevocationRule]]:
        match kind:
            case RuleKind.SERIAL:
                return self._by_serial
            case RuleKind.KEY:
                return self._by_key
            case RuleKind.SPIFFE_ID:
                return self._by_id
            case RuleKind.ID_PREFIX:
                return self._by_prefix
            case RuleKind.AUTHORITY:
                return self._by_authority


def _first(rules: list[RevocationRule] | None, facts: CertificateFacts) -> RevocationRule | None:
    """The first of these rules that matches."""
    if rules:
        for rule in rules:
            if rule.matches(facts):
                return rule
    return None


def _prefixes(spiffe_id: SpiffeId) -> Iterator[bytes]:
    """The ID itself and all its parents, by whole segments."""
    text = str(spiffe_id)
    root = len("spiffe://") + len(spiffe_id.trust_domain.name)
    while len(text) > root:
        yield text.encode()
        text = text[: text.rindex("/")]
    yield text.encode()
