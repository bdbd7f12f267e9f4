"""Certificates in use that an authority signed which is to be revoked: they are renewed first. Pure.

The CA taints an authority, waits until nobody who is connected uses anything of it, and revokes it then.
"""

from __future__ import annotations

from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn_agent.cache.cache import Cache

__all__ = ["count_outdated"]


def count_outdated(cache: Cache, *, own: CertificateFacts | None, stream: CertificateFacts | None) -> int:
    """The agent's own, the one that its stream was opened with, and those of workloads that are connected."""
    if not any(authority.state.is_bad for authority in cache.authorities):
        return 0
    used = [facts for facts in (own, stream) if facts is not None]
    used += [held.svid.facts for held in cache.held() if cache.subscribers_of(held.entry.id)]
    return sum(cache.is_outdated(facts) for facts in used)
