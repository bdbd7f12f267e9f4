"""The set of revocations that a peer enforces.

A rule names a target (serial, key, ID, ID prefix, issuing authority) and a cut-off for each authority: the highest
serial that it touches, or all. Serials of one CA rise strictly, so "issued before the revocation" is a comparison of
serials and no clock plays a part. A rule is for ever; only the CA's word drops it, when nothing that it could touch
is alive any more.

Theory of operation. A `RevocationSet` belongs to one `log_id`. Deltas are applied in order; a gap raises and changes
nothing. When the CA comes with another log_id (a restored backup), the rules known so far are kept beside the new
ones: a denial is never lost because somebody says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from inborn.errors import DeniedError, UnauthenticatedError
from inborn.spiffeid import SpiffeId, parse_spiffe_id
from inborn.svid import CertificateFacts

__all__ = [
    "CertificateRevoked",
    "RevocationGap",
    "RevocationRule",
    "RevocationSet",
    "RuleKind",
]


class CertificateRevoked(UnauthenticatedError):
    """A certificate matches a revocation."""


class RevocationGap(DeniedError):
    """Rules are missing between what is known and what arrived; nothing was applied."""


class RuleKind(Enum):
    """What a rule matches. The numbers are those of the wire."""

    SERIAL = 1
    KEY = 2
    SPIFFE_ID = 3
    ID_PREFIX = 4
    AUTHORITY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRule:
    """One revocation. `value` is octets as on the wire (serial, SHA-256, ID in UTF-8, key identifier)."""

    seq: int
    kind: RuleKind
    value: bytes
    cut_offs: Mapping[bytes, bytes | None]
    """Authority -> highest serial touched; None: all of it. An authority that is not named is not touched."""
    reason: int = 0
    blocks: bool = False
    revoked_at: dt.datetime | None = None

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

    Not safe for use from several threads at once without a lock of the owner's.
    """

    log_id: bytes = b""
    seq: int = 0
    """Length of the revocation log that has been applied."""
    _rules: dict[int, RevocationRule] = field(default_factory=dict)
    _kept: list[RevocationRule] = field(default_factory=list)
    _index: dict[tuple[RuleKind, bytes], list[RevocationRule]] = field(default_factory=dict)
    _prefix_rules: int = 0

    def __len__(self) -> int:
        return len(self._rules) + len(self._kept)

    def rules(self) -> Iterator[RevocationRule]:
        """All rules by rising seq, those of former log_ids first."""
        yield from self._kept
        yield from (self._rules[seq] for seq in sorted(self._rules))

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
                f"certificate {facts.serial.hex()} of {facts.spiffe_id} is revoked by {rule.target} (revocation {rule.seq})",
                seq=rule.seq,
            )

    def apply_snapshot(self, log_id: bytes, seq: int, rules: Iterable[RevocationRule]) -> list[RevocationRule]:
        """Replace what is known of this log_id; what was known of another one is kept beside it.

        Returns the rules that are new. Raises `RevocationGap`, and changes nothing, when the snapshot of the same log
        is shorter than what is known (somebody shows an old state), or has a seq beyond its own length.
        """
        new = {rule.seq: rule for rule in rules}
        if log_id == self.log_id and seq < self.seq:
            raise RevocationGap(f"revocation log went backwards: known {self.seq}, shown {seq}")
        if new and max(new) > seq:
            raise RevocationGap(f"revocation snapshot has rule {max(new)} beyond its length {seq}")
        if self.log_id and log_id != self.log_id:
            self._kept.extend(self._rules[s] for s in sorted(self._rules))
            known: dict[int, RevocationRule] = {}
        else:
            known = self._rules
        added = [rule for s, rule in sorted(new.items()) if s not in known]
        self.log_id, self.seq, self._rules = log_id, seq, new
        self._reindex()
        return added

    def apply_delta(
        self, log_id: bytes, seq: int, rules: Iterable[RevocationRule], dropped: Iterable[int] = ()
    ) -> list[RevocationRule]:
        """Add what follows on what is known, drop what the CA has dropped, and return the rules that are new.

        `seq` is the length of the log afterwards. Raises `RevocationGap`, and changes nothing, when rules between are
        missing or log_id is another one.
        """
        if log_id != self.log_id:
            raise RevocationGap(f"revocations of log {log_id.hex()} do not follow on log {self.log_id.hex()}")
        new = sorted((rule for rule in rules if rule.seq > self.seq), key=lambda rule: rule.seq)
        if [rule.seq for rule in new] != list(range(self.seq + 1, seq + 1)):
            raise RevocationGap(
                f"revocations are missing: known up to {self.seq}, got {[r.seq for r in new][:5]}, length {seq}"
            )
        for rule in new:
            self._rules[rule.seq] = rule
            self._add_to_index(rule)
        gone = [s for s in dropped if self._rules.pop(s, None) is not None]
        if gone:
            self._reindex()
        self.seq = max(self.seq, seq)
        return new

    def _reindex(self) -> None:
        self._index, self._prefix_rules = {}, 0
        for rule in self.rules():
            self._add_to_index(rule)

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


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
