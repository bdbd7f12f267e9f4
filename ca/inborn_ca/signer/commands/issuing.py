"""Certificates for workloads, asked for by their agent: authorise, record, sign."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from inborn._internal.selectors.demand import check_demands
from inborn._internal.selectors.selector import Selector, parse_selector
from inborn._internal.wire.messages import parse_message
from inborn.errors import DeniedError, InbornError, RequestError
from inborn_ca.certificates.issuance import read_proven_key
from inborn_ca.model.records import CertificateKind, MemberKind
from inborn_ca.model.registration_entry import decide
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.requesters.signed import Requester, believe
from inborn_ca.signer.state import Pending, SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2, signed_pb2, signer_pb2

__all__ = ["ISSUE_METHOD", "MAX_ITEMS", "Issuing", "NotAnAgent"]

ISSUE_METHOD = "/inborn.v1.Authority/Issue"
MAX_ITEMS = 500  # a request: 40 ms of work, so that nobody waits longer for their turn
MAX_SELECTORS = 256  # an item: a process has a dozen; a container with many labels and variables has a hundred


class NotAnAgent(DeniedError):
    """Only agents ask for workloads' certificates."""


class Issuing:
    """The command behind `Authority.Issue`."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def issue(self, forwarded: signer_pb2.ForwardedRequest) -> Callable[[Transaction, Changes], Finish]:
        """The command for a signed `IssueRequest`; finishes with an `IssueResponse`, each item with its own outcome."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            requester = believe(self._state, tx, forwarded.request, method=ISSUE_METHOD)
            try:
                request = self._read(requester)
            except InbornError as e:
                e.facts.setdefault("actor", requester.actor)
                raise
            outcomes: list[Pending | InbornError] = []
            for item in request.items:
                try:
                    outcomes.append(self._item(tx, requester, item))
                except (RequestError, DeniedError) as e:
                    outcomes.append(e)
                    self._keep_denial(tx, requester, item, e, forwarded.origin)
            return lambda: self._response(outcomes)

        return command

    def _read(self, requester: Requester) -> ca_pb2.IssueRequest:
        if requester.member.kind is not MemberKind.AGENT:
            raise NotAnAgent(f"{requester.member.spiffe_id} is not an agent and cannot ask for workloads")
        request = parse_message(ca_pb2.IssueRequest, requester.payload, "issue request")
        if not 1 <= len(request.items) <= MAX_ITEMS:
            raise RequestError(f"issue request has {len(request.items)} items, must have 1 to {MAX_ITEMS}")
        return request

    def _item(self, tx: Transaction, requester: Requester, item: ca_pb2.IssueItem) -> Pending:
        """One item. It refuses before it writes anything, so that a refused one needs no savepoint of its own."""
        proven = read_proven_key(item.csr)
        selectors = _read_selectors(tuple(item.selectors))
        grant = decide(self._state.entries.get(item.entry_id), agent=requester.member, selectors=frozenset(selectors))
        check_demands(self._state.demands_on(grant.spiffe_id), frozenset(selectors), who=grant.spiffe_id)
        return self._state.certify(
            tx,
            kind=CertificateKind.WORKLOAD,
            spiffe_id=grant.spiffe_id,
            public_key=proven.key,
            spki=proven.spki,
            ttl=grant.ttl,
            dns_names=grant.dns_names,
            common_name=grant.common_name,
            entry_id=grant.entry_id,
            node=requester.member.spiffe_id,
            selectors=selectors,
        )

    def _keep_denial(
        self,
        tx: Transaction,
        requester: Requester,
        item: ca_pb2.IssueItem,
        error: InbornError,
        origin: str,
    ) -> None:
        refusal = audit.denial(
            self._state.clock(),
            "svid.issue",
            origin=origin,
            actor=requester.actor,
            subject=f"entry:{item.entry_id[:64]}",
        )
        row = refusal.audit(error)
        if row is not None:
            tx.audit.add_denial(row)

    def _response(self, outcomes: list[Pending | InbornError]) -> ca_pb2.IssueResponse:
        response = ca_pb2.IssueResponse()
        for outcome in outcomes:
            if isinstance(outcome, Pending):
                response.results.add(leaf=outcome.sign())
                response.issuer = self._state.issuer_der(outcome.issuer)
                self._state.issued_count += 1
            else:
                response.results.add(error=to_wire(outcome))
        return response


@lru_cache(maxsize=4096)
def _read_selectors(texts: tuple[str, ...]) -> tuple[Selector, ...]:
    """What an agent saw; the same set comes again with each renewal, and is read once."""
    if len(texts) > MAX_SELECTORS:
        raise RequestError(f"item has {len(texts)} selectors, at most {MAX_SELECTORS}")
    return tuple(sorted({parse_selector(text) for text in texts}))


def to_wire(error: InbornError) -> signed_pb2.Error:
    """An error as it travels."""
    return signed_pb2.Error(kind=error.kind, message=error.message, hint=error.hint, status=error.status)
