"""What the CA's feeds say, as values: changes of the domain and of this node. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from inborn._internal.feed.feed_content import Authority, FeedEntry
from inborn._internal.revocation.revocation_log import RuleLog
from inborn._internal.revocation.revocation_set import RevocationRule
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
    rules: tuple[RevocationRule, ...]
    dropped: tuple[int, ...]
    revocation_seq: int
    log: RuleLog | None = None
    """The rules of a snapshot, instead of `rules`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """A message of this node's feed."""

    node: SpiffeId | None
    log_id: bytes
    revision: int
    is_snapshot: bool
    entries: tuple[FeedEntry, ...]
    removed: tuple[str, ...]
    rotate_before: dt.datetime | None = None
    """Everything issued before this time is asked for anew."""
