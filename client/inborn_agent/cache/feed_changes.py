"""What the CA's feeds say, as values: changes of the domain and of this node. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from inborn._internal.feed.feed_content import Authority, FeedEntry
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_bundle import X509Bundle

__all__ = ["DomainChange", "NodeChange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainChange:
    """A message of the domain feed. `bundle` and `authorities` are None where they did not change."""

    log_id: bytes
    revision: int
    is_snapshot: bool
    bundle: X509Bundle | None
    authorities: tuple[Authority, ...] | None
    revocations: tuple[Revocation, ...]
    dropped: tuple[int, ...]
    revocation_seq: int
    log: RevocationLog | None = None
    """The revocations of a snapshot, instead of `revocations`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """A message of this node's feed."""

    node: SpiffeId | None
    log_id: bytes
    revision: int
    is_snapshot: bool
    entries: tuple[FeedEntry, ...]
    removed: tuple[str, ...]
