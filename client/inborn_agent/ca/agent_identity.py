"""What is an agent's about its own identity: its ID, how often it is renewed, and that the metrics count renewals."""

from __future__ import annotations

import datetime as dt

from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId, TrustDomain
from inborn_agent.counted_events import RENEWED
from inborn_member.evidence_way_in import EvidenceSupply, EvidenceWayIn
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.own_identity import Clock, OwnIdentity, utc_now
from inborn_member.way_in import WrongIdentity

__all__ = ["RENEW_EVERY", "agent_identity"]

RENEW_EVERY = dt.timedelta(days=1)
"""However long the certificate lives: a machine that is off for a weekend comes back."""


def agent_identity(
    trust_domain: TrustDomain,
    store: IdentityStore,
    joiner: EvidenceSupply,
    metrics: Metrics,
    *,
    revocations: RevocationSet,
    record: IdentityRecord | None,
    ca: str = "",
    clock: Clock = utc_now,
) -> OwnIdentity:
    """The agent's own identity, which gets in with the joiner's evidence. A token that it has used is used up."""
    if record is not None and record.evidence:
        joiner.spent(record.evidence)
    own = OwnIdentity(
        "agent",
        trust_domain,
        store,
        EvidenceWayIn(trust_domain, joiner, _check),
        revocations=revocations,
        record=record,
        ca=ca,
        longest_life=2 * RENEW_EVERY,
        clock=clock,
    )
    own.on_renewal = lambda result: metrics.count(RENEWED, result=result)
    return own


def _check(spiffe_id: SpiffeId) -> None:
    if not spiffe_id.path.startswith(RESERVED_PREFIX + "agent/"):
        raise WrongIdentity(f"evidence enrolls {spiffe_id}, which is no agent")
