"""The trust domain's rules on posture: made, listed, deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from inborn._internal.selectors.demand import parse_demand
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn.errors import NotFoundError
from inborn_ca.model.posture_policy import PostureRule, check_rule
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import Core
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2

__all__ = ["PostureRules"]


class PostureRules:
    """Commands and reads behind `inborn rule`. What was issued before a rule lives to its next renewal."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def create(self, request: admin_pb2.CreateRuleRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with a `Rule`. It holds for issuing at once, and for agents when they have heard of it."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._core.clock()
            rule = PostureRule(
                id=str(uuid.uuid4()),
                prefix=from_operator_input(request.id_prefix),
                demands=tuple(sorted({parse_demand(text) for text in request.demands})),
                note=request.note,
                created_at=now,
                created_by=actor,
            )
            check_rule(rule, trust_domain=self._core.trust_domain)
            tx.add_rule(rule)
            changes.rules_changed = tx.rules()
            detail = {"prefix": str(rule.prefix), "demands": [str(d) for d in rule.demands], "note": rule.note}
            tx.add_audit(audit.row(now, actor, "rule.create", rule.id, detail=detail))
            return lambda: self._message(rule)

        return command

    def delete(self, request: admin_pb2.DeleteRuleRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with the `Rule` that is gone."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            rule = next((r for r in tx.rules() if r.id == request.id), None)
            if rule is None:
                raise NotFoundError(f"no rule has id {request.id[:80]!a}", hint="inborn rule list shows them")
            tx.delete_rule(rule.id)
            changes.rules_changed = tx.rules()
            detail = {"prefix": str(rule.prefix), "demands": [str(d) for d in rule.demands]}
            tx.add_audit(audit.row(self._core.clock(), actor, "rule.delete", rule.id, detail=detail))
            return lambda: self._message(rule)

        return command

    def list(self) -> admin_pb2.ListRulesResponse:
        return admin_pb2.ListRulesResponse(rules=[self._message(rule) for rule in self._core.rules])

    def _message(self, rule: PostureRule) -> admin_pb2.Rule:
        message = admin_pb2.Rule(
            id=rule.id,
            id_prefix=str(rule.prefix),
            demands=[str(demand) for demand in rule.demands],
            note=rule.note,
            created_by=rule.created_by,
            entries=sum(e.spiffe_id.is_at_or_below(rule.prefix) for e in self._core.entries.values()),
        )
        message.created_at.FromDatetime(rule.created_at)
        return message
