"""The trust domain's policies on posture: made, listed, deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from inborn._internal.selectors.demand import parse_demand
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn.errors import NotFoundError
from inborn_ca.model.posture_policy import PosturePolicy, check_posture_policy
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2

__all__ = ["PosturePolicies"]


class PosturePolicies:
    """Commands and reads behind `inborn policy`. What was issued before a policy lives to its next renewal."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def create(
        self, request: admin_pb2.CreatePosturePolicyRequest, actor: str
    ) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with a `Policy`. It holds for issuing at once, and for agents when they have heard of it."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            policy = PosturePolicy(
                id=str(uuid.uuid4()),
                prefix=from_operator_input(request.id_prefix),
                demands=tuple(sorted({parse_demand(text) for text in request.demands})),
                note=request.note,
                created_at=now,
                created_by=actor,
            )
            check_posture_policy(policy, trust_domain=self._state.trust_domain)
            tx.entries.add_policy(policy)
            changes.posture_policies = tx.entries.policies()
            detail = {"prefix": str(policy.prefix), "demands": [str(d) for d in policy.demands], "note": policy.note}
            tx.audit.add(audit.row(now, actor, "posture.create", policy.id, detail=detail))
            return lambda: self._message(policy)

        return command

    def delete(
        self, request: admin_pb2.DeletePosturePolicyRequest, actor: str
    ) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with the `Policy` that is gone."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            policy = next((r for r in tx.entries.policies() if r.id == request.id), None)
            if policy is None:
                raise NotFoundError(f"no policy has id {request.id[:80]!a}", hint="inborn posture list shows them")
            tx.entries.delete_policy(policy.id)
            changes.posture_policies = tx.entries.policies()
            detail = {"prefix": str(policy.prefix), "demands": [str(d) for d in policy.demands]}
            tx.audit.add(audit.row(self._state.clock(), actor, "posture.delete", policy.id, detail=detail))
            return lambda: self._message(policy)

        return command

    def list(self) -> admin_pb2.ListPosturePoliciesResponse:
        return admin_pb2.ListPosturePoliciesResponse(
            policies=[self._message(policy) for policy in self._state.posture_policies]
        )

    def _message(self, policy: PosturePolicy) -> admin_pb2.PosturePolicy:
        message = admin_pb2.PosturePolicy(
            id=policy.id,
            id_prefix=str(policy.prefix),
            demands=[str(demand) for demand in policy.demands],
            note=policy.note,
            created_by=policy.created_by,
            entries=sum(e.spiffe_id.is_at_or_below(policy.prefix) for e in self._state.entries.values()),
        )
        message.created_at.FromDatetime(policy.created_at)
        return message
