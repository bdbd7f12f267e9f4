"""The ledger: a row for each SVID, written before it is signed.

It is keyed by serial, which is time, and has no other index. So a serial is instant and a time is a range; everything
else scans what can be alive, 60 ms for a million rows and more where many of them are read: on a `ReadHandle` in a
thread of its own, unless a command has to know it before it acts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.records import BlockKind, Issued

__all__ = ["Alive", "CertificateFilter", "LedgerReads", "LedgerWrites"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFilter:
    """What `LedgerReads.select` selects by; None and "" mean: any."""

    spiffe_id: SpiffeId | None = None
    node: SpiffeId | None = None
    entry_id: str = ""
    issued_after: dt.datetime | None = None
    issued_before: dt.datetime | None = None
    alive_at: dt.datetime | None = None
    after_serial: bytes = b""
    limit: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """What of the ledger is alive and matches one target."""

    certificates: int
    identities: int
    nodes: int
    examples: tuple[SpiffeId, ...]
    """Some of the identities."""
    holders: tuple[SpiffeId, ...]
    """Agents and enrolled daemons among them: those who have a stream of their own."""


class LedgerReads(Protocol):
    def get(self, serial: bytes) -> Issued | None:
        """Instant."""
        ...

    def select(self, where: CertificateFilter) -> list[Issued]:
        """By rising serial. Scans what is alive, or all of the history where `alive_at` is not given."""
        ...

    def iter_alive(self, *, at: dt.datetime) -> Iterator[Issued]:
        """Every SVID that has not expired, by rising serial, page by page. For a handle of its own."""
        ...

    def count_alive(self, kind: BlockKind, value: str, *, at: dt.datetime) -> Alive:
        """What a target hits: an ID, a prefix, a key (hex), an entry, a node (its ID) or a selector. Scans."""
        ...

    def count_alive_of_authority(self, key_id: bytes, *, at: dt.datetime) -> Alive:
        """What an issuing authority's revocation hits. Scans."""
        ...

    def holders_of_authority(self, key_id: bytes, *, at: dt.datetime) -> list[SpiffeId]:
        """Agents and daemons that have certificates alive for themselves, all of them of this authority. Scans."""
        ...

    def ends_of_holders(self, *, at: dt.datetime) -> dict[SpiffeId, dt.datetime]:
        """Each agent and daemon that has an SVID alive for itself, and when the last of them expires. Scans."""
        ...

    def alive_serials(
        self,
        kind: BlockKind,
        value: str,
        cut_offs: Mapping[bytes, bytes | None],
        *,
        at: dt.datetime,
        after: bytes,
        limit: int,
    ) -> list[tuple[bytes, bytes]]:
        """(serial, authority) of what is alive, matches and lies at or below its cut-off, by rising serial.

        Scans on from `after`, so all pages of one target scan what is alive once.
        """
        ...


class LedgerWrites(LedgerReads, Protocol):
    def add(self, row: Issued) -> None:
        """Raises `ConstraintBroken` (an `inborn.errors.InternalError`) if the serial is there already."""
        ...
