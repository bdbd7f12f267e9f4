"""Policies of the trust domain: what every workload under an ID prefix must be able to show (pure)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from inborn._internal.selectors.demand import Demand
from inborn._internal.selectors.weakness import why_never_attested
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn.errors import RequestError

__all__ = ["MAX_DEMANDS", "PosturePolicy", "check_posture_policy", "demands_on"]

MAX_DEMANDS = 32  # of one policy: there are some forty facts
MAX_NOTE = 1024  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class PosturePolicy:
    """All of these demands hold for `prefix` and all below it, by whole segments."""

    id: str
    prefix: SpiffeId
    demands: tuple[Demand, ...]
    note: str
    created_at: dt.datetime
    created_by: str


def check_posture_policy(policy: PosturePolicy, *, trust_domain: TrustDomain) -> None:
    """Refuse a policy that may not exist. Raises `RequestError`."""
    if policy.prefix.trust_domain != trust_domain:
        raise RequestError(f"{policy.prefix} is not of trust domain {trust_domain}")
    if policy.prefix.is_reserved:
        raise RequestError(f"{policy.prefix} lies under the reserved path /inborn/")
    if not 1 <= len(policy.demands) <= MAX_DEMANDS:
        raise RequestError(f"policy has {len(policy.demands)} demands, must have 1 to {MAX_DEMANDS}")
    for demand in policy.demands:
        if all(why_never_attested(selector) is not None for selector in demand.any_of):
            raise RequestError(
                f"no process ever meets {demand}: nothing under {policy.prefix} would have an identity",
                hint="words and capabilities that there are: inborn policy create --help",
            )
    if len(policy.note) > MAX_NOTE or not policy.note.isprintable():
        raise RequestError(f"note is longer than {MAX_NOTE} characters or not one printable line")


def demands_on(spiffe_id: SpiffeId, policies: Iterable[PosturePolicy]) -> tuple[Demand, ...]:
    """All that is demanded of this ID, each once, in order."""
    return tuple(sorted({d for policy in policies if spiffe_id.is_at_or_below(policy.prefix) for d in policy.demands}))
