"""The set of revocations that a peer enforces.

A revocation names a target (serial, key, ID, ID prefix, issuing authority) and a cut-off for each authority: the
highest serial that it touches, or all. Serials of one CA rise strictly, so "issued before the revocation" is a
comparison of serials and no clock plays a part. A revocation is for ever; only the CA's word drops it, when nothing
that it could touch is alive any more.

Theory of operation. A `RevocationSet` follows one `log_id`. Deltas are applied in order; a gap raises and changes
nothing. When the CA comes with another log_id (a restored backup), the revocations known so far are kept beside the new
ones, by log_id and seq: a denial is never lost because somebody says so, and going back and forth between two logs adds
nothing. A revocation of a former log goes only when a revocation of the current one touches all that it touches: from
then on the CA can drop it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inborn._internal.revocation.revocation import InvalidRevocation, Revocation, RevocationKind
from inborn._internal.revocation.revocation_log import RevocationGap, RevocationLog
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import UnauthenticatedError

__all__ = [
    "CertificateRevoked",
    "InvalidRevocation",
    "Revocation",
    "RevocationGap",
    "RevocationKind",
    "RevocationSet",
]


class CertificateRevoked(UnauthenticatedError):
    """A certificate matches a revocation."""


class RevocationSet:
    """Revocations by what they match, so that a look-up costs the same however many there are.

    One thread may apply while others look up: a look-up sees the revocations from before or after, and never fewer than
    before. Two threads that apply need a lock of the owner's.
    """

    __slots__ = ("_logs", "generation")

    def __init__(self, log_id: bytes = b"", seq: int = 0) -> None:
        self._logs: tuple[RevocationLog, ...] = (RevocationLog(log_id, seq),)
        """Former logs that have a revocation, the oldest first; and the current one."""
        self.generation = 0
        """Rises after each change: what was not revoked before is not revoked while this stays."""

    @property
    def log_id(self) -> bytes:
        """Which log is followed; empty: none yet."""
        return self._logs[-1].log_id

    @property
    def seq(self) -> int:
        """Length of the revocation log that has been applied."""
        return self._logs[-1].seq

    def __len__(self) -> int:
        return sum(map(len, self._logs))

    def __iter__(self) -> Iterator[Revocation]:
        """All revocations by rising seq, those of former log_ids first."""
        for log in self._logs:
            yield from log

    def logs(self) -> Iterator[RevocationLog]:
        """Each log with its length and revocations, the current one last; not a copy.

        To hand a set on, or to store it, is to hand on its logs: `apply_log` of each in this order makes it anew.
        """
        return iter([log for log in self._logs if log.log_id])

    def find(self, facts: CertificateFacts) -> Revocation | None:
        """The revocation that this certificate falls under, if there is one."""
        for log in self._logs:
            revocation = log.find(facts)
            if revocation is not None:
                return revocation
        return None

    def check(self, facts: CertificateFacts) -> None:
        """Raise `CertificateRevoked` if a revocation matches."""
        revocation = self.find(facts)
        if revocation is not None:
            raise CertificateRevoked(
                f"certificate {facts.serial.hex()} of {facts.spiffe_id} is revoked by {revocation.target}"
                f" (revocation {revocation.seq})",
                seq=revocation.seq,
            )

    def apply_snapshot(self, log_id: bytes, seq: int, revocations: Iterable[Revocation]) -> list[Revocation]:
        """`apply_log` of revocations that are at hand as objects. Returns those that are new.

        Raises `RevocationGap`, and changes nothing, also where a revocation has a seq twice or beyond the log's length.
        """
        ordered = sorted(revocations, key=lambda revocation: revocation.seq)
        log = RevocationLog(log_id, seq, ordered)
        known = self._known(log_id)
        added = [revocation for revocation in ordered if known is None or revocation.seq not in known]
        self.apply_log(log)
        return added

    def apply_log(self, log: RevocationLog) -> None:
        """Replace what is known of this log_id; what was known of another one is kept beside it. `log` is taken over:
        whoever made it does not change it any more.

        Of a log that was left and is come back to, nothing is given up. Raises `RevocationGap`, and changes nothing,
        when it is shorter than what is known (somebody shows an old state), or when log_id is empty.
        """
        if not log.log_id:
            raise RevocationGap("revocation log has no id")
        known = self._known(log.log_id)
        if known is not None and log.seq < known.seq:
            raise RevocationGap(f"revocation log went backwards: known {known.seq}, shown {log.seq}")
        *former, current = self._logs
        if known is not current:
            former = [other for other in (*former, current) if other is not known and len(other)]
            if known is not None:
                log = log.united(known)
        self._logs = (*former, log)
        for other in former:
            other.drop_covered(log)
        self._forget_empty()
        self.generation += 1

    def apply_delta(
        self, log_id: bytes, seq: int, revocations: Iterable[Revocation], dropped: Iterable[int] = ()
    ) -> list[Revocation]:
        """Add what follows on what is known, drop what the CA has dropped, and return the revocations that are new.

        `seq` is the length of the log afterwards. Raises `RevocationGap`, and changes nothing, when revocations between
        are missing or log_id is another one.
        """
        *former, current = self._logs
        if not log_id or log_id != current.log_id:
            raise RevocationGap(f"revocations of log {log_id.hex()!r} do not follow on log {current.log_id.hex()!r}")
        new = sorted(
            (revocation for revocation in revocations if revocation.seq > current.seq),
            key=lambda revocation: revocation.seq,
        )
        if len(new) != max(0, seq - current.seq) or any(
            revocation.seq != current.seq + i for i, revocation in enumerate(new, 1)
        ):
            raise RevocationGap(
                f"revocations are missing: known up to {current.seq}, got {[r.seq for r in new][:5]}, length {seq}"
            )
        for revocation in new:
            current.append(revocation)
            # What was there before does not cover a former revocation: it would have gone.
            for other in former:
                for old in other.of_target(revocation.kind, revocation.value):
                    if revocation.covers(old):
                        other.drop(old.seq)
        self._forget_empty()
        for s in dropped:
            current.drop(s)
        self.generation += 1
        return new

    def _known(self, log_id: bytes) -> RevocationLog | None:
        return next((log for log in self._logs if log.log_id == log_id), None)

    def _forget_empty(self) -> None:
        *former, current = self._logs
        if not all(map(len, former)):
            self._logs = (*(log for log in former if len(log)), current)
