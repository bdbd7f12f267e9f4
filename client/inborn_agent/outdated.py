"""Certificates in use that an authority signed which is to be revoked: they are renewed first. Pure.

The CA taints an authority, waits until nobody who is connected uses anything of it, and revokes it then.
"""

from __future__ import annotations

from inborn.svid import CertificateFacts
from inborn_agent.cache import Cache
from inborn_agent.changes import AuthorityState

__all__ = ["count_outdated", "is_outdated"]

_BAD = (AuthorityState.TAINTED, AuthorityState.REVOKED)


def is_outdated(cache: Cache, facts: CertificateFacts) -> bool:
    """Whether its authority is tainted or revoked."""
    return any(a.key_id == facts.authority and a.state in _BAD for a in cache.authorities)


def count_outdated(cache: Cache, *, own: CertificateFacts | None, stream: CertificateFacts | None) -> int:
    """The agent's own, the one that its stream was opened with, and those of workloads that are connected."""
    if not any(authority.state in _BAD for authority in cache.authorities):
        return 0
    used = [facts for facts in (own, stream) if facts is not None]
    used += [held.svid.facts for held in cache.held() if cache.subscribers_of(held.entry.id)]
    return sum(is_outdated(cache, facts) for facts in used)
