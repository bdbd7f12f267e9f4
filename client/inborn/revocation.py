"""The set of revocations that a peer enforces.

A rule names a target (serial, key, ID, ID prefix, issuing authority) and a cut-off for each authority: the highest
serial that it touches, or all. Serials of one CA rise strictly, so "issued before the revocation" is a comparison of
serials and no clock plays a part. A rule is for ever; only the CA's word drops it, when nothing that it could touch
is alive any more.

Theory of operation. A `RevocationSet` follows one `log_id`. Deltas are applied in order; a gap raises and changes
nothing. When the CA comes with another log_id (a restored backup), the rules known so far are kept beside the new
ones, by log_id and seq: a denial is never lost because somebody says so, and going back and forth between two logs
adds nothing. A rule of a former log goes only when a rule of the current one touches all that it touches: from then on
the CA can drop it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from inborn.errors import DeniedError, RequestError, UnauthenticatedError
from inborn.spiffeid import InvalidSpiffeId, SpiffeId, parse_spiffe_id
from inborn.svid import CertificateFacts

__all__ = [
    "CertificateRevoked",
    "InvalidRule",
    "RevocationGap",
    "RevocationRule",
    "RevocationSet",
    "RuleKind",
]


class CertificateRevoked(UnauthenticatedError):
    """A certificate matches a revocation."""


class RevocationGap(DeniedError):
    """Rules are missing between what is known and what arrived; nothing was applied."""


class InvalidRule(RequestError):
    """A revocation has a target that no certificate can have, and would never match."""


class RuleKind(Enum):
    """What a rule matches. The numbers are those of the wire."""

    SERIAL = 1
    KEY = 2
    SPIFFE_ID = 3
    ID_PREFIX = 4
    AUTHORITY = 5


# Octets of a target: a serial (RFC 5280 4.1.2.2), SHA-256, a key identifier (SHA-1 has 20, SHA-512 has 64).
_VALUE_SIZES = {RuleKind.SERIAL: range(1, 21), RuleKind.KEY: range(32, 33), RuleKind.AUTHORITY: range(1, 65)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRule:
    """One revocation: valid if it exists.

    `value` is octets as on the wire (serial without leading zeros, SHA-256, ID in UTF-8, key identifier). Raises
    `InvalidRule`: a rule that can never match must not look like a denial.
    """

    seq: int
    kind: RuleKind
    value: bytes
    cut_offs: Mapping[bytes, bytes | None]
    """Authority -> highest serial touched; None: all of it. An authority that is not named is not touched."""
    reason: int = 0
    blocks: bool = False
    revoked_at: dt.datetime | None = None

    def __post_init__(self) -> None:
        if self.seq < 1:
            raise InvalidRule(f"revocation's seq is not positive: {self.seq}")
        if self.kind in (RuleKind.SPIFFE_ID, RuleKind.ID_PREFIX):
            try:
                parse_spiffe_id(self.value.decode())
            except (UnicodeDecodeError, InvalidSpiffeId) as e:
                raise InvalidRule(f"revocation {self.seq} names no SPIFFE ID") from e
        elif len(self.value) not in _VALUE_SIZES[self.kind]:
            raise InvalidRule(f"revocation {self.seq} has a {self.kind.name.lower()} of {len(self.value)} octets")
        elif self.kind is RuleKind.SERIAL and self.value[0] == 0:
            raise InvalidRule(f"revocation {self.seq} has a serial with leading zeros: {self.value.hex()}")

    def touches(self, facts: CertificateFacts) -> bool:
        """Whether the certificate lies at or below the cut-off; the target is not looked at."""
        if facts.authority not in self.cut_offs:
            return False
        limit = self.cut_offs[facts.authority]
        return limit is None or _number(facts.serial) <= _number(limit)

    def matches(self, facts: CertificateFacts) -> bool:
        """Whether the rule's target is this certificate's, and the cut-off touches it.

        Nothing of Inborn's own falls under a rule by ID or prefix: the verbs for agents and authorities name serials
        and keys.
        """
        match self.kind:
            case RuleKind.SERIAL:
                hit = self.value == facts.serial
            case RuleKind.KEY:
                hit = self.value == facts.key_hash
            case RuleKind.SPIFFE_ID:
                hit = self.value == str(facts.spiffe_id).encode() and not facts.spiffe_id.is_reserved
            case RuleKind.ID_PREFIX:
                hit = not facts.spiffe_id.is_reserved and facts.spiffe_id.is_at_or_below(
                    parse_spiffe_id(self.value.decode())
                )
            case RuleKind.AUTHORITY:
                hit = self.value == facts.authority
        return hit and self.touches(facts)

    def covers(self, other: RevocationRule) -> bool:
        """Whether every certificate that `other` matches is matched by this rule of the same target as well."""
        return (
            (self.kind, self.value) == (other.kind, other.value)
            and (self.blocks or not other.blocks)
            and all(
                authority in self.cut_offs and _reaches(self.cut_offs[authority], limit)
                for authority, limit in other.cut_offs.items()
            )
        )

    @property
    def target(self) -> str:
        """The target as people read and type it: `serial:HEX`, `key:HEX`, `id:spiffe://...`."""
        match self.kind:
            case RuleKind.SPIFFE_ID:
                return f"id:{self.value.decode()}"
            case RuleKind.ID_PREFIX:
                return f"id-prefix:{self.value.decode()}"
            case _:
                return f"{self.kind.name.lower()}:{self.value.hex()}"


@dataclass(slots=True)
class RevocationSet:
    """Rules by what they match, so that a look-up costs the same however many there are.

    One thread may apply while others look up: a look-up sees the rules from before or after, and never fewer than
    before. Two threads that apply need a lock of the owner's.
    """

    log_id: bytes = b""
    seq: int = 0
    """Length of the revocation log that has been applied."""
    _rules: dict[int, RevocationRule] = field(default_factory=dict)
    _former: dict[bytes, tuple[int, dict[int, RevocationRule]]] = field(default_factory=dict)
    """log_id -> its length and rules, the oldest log first; only logs that have a rule."""
    _index: dict[tuple[RuleKind, bytes], list[RevocationRule]] = field(default_factory=dict)
    _prefix_rules: int = 0

    def __len__(self) -> int:
        return len(self._rules) + sum(len(rules) for _, rules in self._former.values())

    def rules(self) -> Iterator[RevocationRule]:
        """All rules by rising seq, those of former log_ids first."""
        for _, _, rules in self.logs():
            yield from rules

    def former_rules(self) -> Iterator[RevocationRule]:
        """The rules of former log_ids alone. Their seqs are those of their logs, and may repeat."""
        for log_id, _, rules in self.logs():
            if log_id != self.log_id:
                yield from rules

    def logs(self) -> Iterator[tuple[bytes, int, tuple[RevocationRule, ...]]]:
        """Each log with its length and rules, the current one last.

        To hand a set on, or to store it, is to hand on its logs: `apply_snapshot` of each in this order makes it anew.
        """
        for log_id, (seq, rules) in self._former.items():
            yield log_id, seq, _by_seq(rules)
        if self.log_id:
            yield self.log_id, self.seq, _by_seq(self._rules)

    def find(self, facts: CertificateFacts) -> RevocationRule | None:
        """The rule that this certificate falls under, if there is one."""
        keys = [
            (RuleKind.SERIAL, facts.serial),
            (RuleKind.KEY, facts.key_hash),
            (RuleKind.SPIFFE_ID, str(facts.spiffe_id).encode()),
            (RuleKind.AUTHORITY, facts.authority),
        ]
        if self._prefix_rules:
            keys += [(RuleKind.ID_PREFIX, prefix) for prefix in _prefixes(facts.spiffe_id)]
        for key in keys:
            for rule in self._index.get(key, ()):
                if rule.matches(facts):
                    return rule
        return None

    def check(self, facts: CertificateFacts) -> None:
        """Raise `CertificateRevoked` if a rule matches."""
        rule = self.find(facts)
        if rule is not None:
            raise CertificateRevoked(
                f"certificate {facts.serial.hex()} of {facts.spiffe_id} is revoked by {rule.target}"
                f" (revocation {rule.seq})",
                seq=rule.seq,
            )

    def apply_snapshot(self, log_id: bytes, seq: int, rules: Iterable[RevocationRule]) -> list[RevocationRule]:
        """Replace what is known of this log_id; what was known of another one is kept beside it.

        Returns the rules that are new. Of a log that was left and is come back to, nothing is given up. Raises
        `RevocationGap`, and changes nothing, when the snapshot of a known log is shorter than what is known (somebody
        shows an old state), has a seq twice or beyond its own length, or when log_id is empty.
        """
        if not log_id:
            raise RevocationGap("revocation log has no id")
        new: dict[int, RevocationRule] = {}
        for rule in rules:
            if rule.seq in new:
                raise RevocationGap(f"revocation snapshot has two rules of seq {rule.seq}")
            new[rule.seq] = rule
        is_current = log_id == self.log_id
        known_seq, known = (self.seq, self._rules) if is_current else self._former.get(log_id, (0, {}))
        if seq < known_seq:
            raise RevocationGap(f"revocation log went backwards: known {known_seq}, shown {seq}")
        if new and max(new) > seq:
            raise RevocationGap(f"revocation snapshot has rule {max(new)} beyond its length {seq}")
        added = [rule for s, rule in sorted(new.items()) if s not in known]
        if not is_current:
            self._former.pop(log_id, None)
            if self._rules:
                self._former[self.log_id] = (self.seq, self._rules)
            new = known | new
        self.log_id, self.seq, self._rules = log_id, seq, new
        self._forget_covered()
        self._reindex()
        return added

    def apply_delta(
        self, log_id: bytes, seq: int, rules: Iterable[RevocationRule], dropped: Iterable[int] = ()
    ) -> list[RevocationRule]:
        """Add what follows on what is known, drop what the CA has dropped, and return the rules that are new.

        `seq` is the length of the log afterwards. Raises `RevocationGap`, and changes nothing, when rules between are
        missing or log_id is another one.
        """
        if not log_id or log_id != self.log_id:
            raise RevocationGap(f"revocations of log {log_id.hex()!r} do not follow on log {self.log_id.hex()!r}")
        new = sorted((rule for rule in rules if rule.seq > self.seq), key=lambda rule: rule.seq)
        if len(new) != max(0, seq - self.seq) or any(rule.seq != self.seq + i for i, rule in enumerate(new, 1)):
            raise RevocationGap(
                f"revocations are missing: known up to {self.seq}, got {[r.seq for r in new][:5]}, length {seq}"
            )
        for rule in new:
            self._rules[rule.seq] = rule
            self._add_to_index(rule)
        if new and self._forget_covered():
            self._reindex()
        for s in dropped:
            gone = self._rules.pop(s, None)
            if gone is not None:
                self._remove_from_index(gone)
        self.seq = max(self.seq, seq)
        return new

    def _forget_covered(self) -> bool:
        """Forget rules of former logs that a rule of the current log covers. Says whether there were any."""
        if not self._former:
            return False
        by_target: dict[tuple[RuleKind, bytes], list[RevocationRule]] = {}
        for rule in self._rules.values():
            by_target.setdefault((rule.kind, rule.value), []).append(rule)
        before = len(self)
        left = {
            log_id: (
                seq,
                {
                    s: rule
                    for s, rule in rules.items()
                    if not any(current.covers(rule) for current in by_target.get((rule.kind, rule.value), ()))
                },
            )
            for log_id, (seq, rules) in self._former.items()
        }
        self._former = {log_id: (seq, rules) for log_id, (seq, rules) in left.items() if rules}
        return len(self) < before

    def _reindex(self) -> None:
        """Build the index aside and put it in place at once: whoever looks up meanwhile must not find it half full."""
        index: dict[tuple[RuleKind, bytes], list[RevocationRule]] = {}
        prefix_rules = 0
        for rule in self.rules():
            index.setdefault((rule.kind, rule.value), []).append(rule)
            prefix_rules += rule.kind is RuleKind.ID_PREFIX
        self._prefix_rules = max(prefix_rules, self._prefix_rules)
        self._index = index
        self._prefix_rules = prefix_rules

    def _remove_from_index(self, rule: RevocationRule) -> None:
        key = (rule.kind, rule.value)
        others = [other for other in self._index[key] if other is not rule]
        if others:
            self._index[key] = others
        else:
            del self._index[key]
        self._prefix_rules -= rule.kind is RuleKind.ID_PREFIX

    def _add_to_index(self, rule: RevocationRule) -> None:
        self._index.setdefault((rule.kind, rule.value), []).append(rule)
        self._prefix_rules += rule.kind is RuleKind.ID_PREFIX


def _prefixes(spiffe_id: SpiffeId) -> Iterator[bytes]:
    """The ID itself and all its parents, by whole segments."""
    text = str(spiffe_id)
    root = len("spiffe://") + len(spiffe_id.trust_domain.name)
    while len(text) > root:
        yield text.encode()
        text = text[: text.rindex("/")]
    yield text.encode()


def _by_seq(rules: Mapping[int, RevocationRule]) -> tuple[RevocationRule, ...]:
    return tuple(rules[seq] for seq in sorted(rules))


def _reaches(limit: bytes | None, other: bytes | None) -> bool:
    """Whether a cut-off touches all that another one touches."""
    return limit is None or (other is not None and _number(other) <= _number(limit))


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
