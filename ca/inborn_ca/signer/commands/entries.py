"""Registration entries: made, changed, deleted, listed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from inborn._internal.selectors.demand import Demand
from inborn._internal.selectors.entry_selector import parse_entry_selector
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn.errors import AlreadyExistsError, InternalError, NotFoundError, RequestError
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch, check_entry, entry_warnings, find_duplicate
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2, feed_pb2

__all__ = ["Entries", "feed_entry"]

_SETTABLE = frozenset({"selectors", "node", "ttl", "dns", "cn", "hint", "revoke"})


class Entries:
    """Commands and reads behind `inborn entry`."""

    def __init__(
        self, state: SignerState, *, min_ttl: dt.timedelta, ca_names: Callable[[], Sequence[str]] = lambda: ()
    ) -> None:
        """`ca_names` gives the DNS names under which the CA itself is reached: no entry may have them."""
        self._state = state
        self._min_ttl = min_ttl
        self._ca_names = ca_names

    def create(self, request: admin_pb2.CreateEntryRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with an `EntryResponse`; warnings say where an entry rests on too little."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            entry = Entry(
                id=str(uuid.uuid4()),
                spiffe_id=from_operator_input(request.spiffe_id),
                selectors=frozenset(parse_entry_selector(text) for text in request.selectors),
                node=self._node(tx, request.node),
                ttl=self._ttl(request.ttl_seconds),
                dns_names=tuple(request.dns_names),
                common_name=request.common_name,
                hint=request.hint,
                revoke_when_lost=request.revoke_when_lost,
                revision=1,
                created_at=now,
                updated_at=now,
            )
            self._check(entry)
            duplicate = find_duplicate(entry, self._state.entries.values())
            if duplicate is not None:
                raise AlreadyExistsError(
                    f"entry {duplicate.id} says the same", hint=f"change it with: inborn entry update {duplicate.id}"
                )
            tx.entries.add(entry)
            return self._done(tx, changes, None, entry, actor, "entry.create")

        return command

    def update(self, request: admin_pb2.UpdateEntryRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Change the fields that `set` names; finishes with an `EntryResponse`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            before = _existing(tx, request.id)
            fields = set(request.set)
            if not fields or fields - _SETTABLE:
                raise RequestError(f"name what is to be set, out of {', '.join(sorted(_SETTABLE))}")
            entry = replace(before, revision=before.revision + 1, updated_at=self._state.clock())
            if "selectors" in fields:
                entry = replace(entry, selectors=frozenset(parse_entry_selector(text) for text in request.selectors))
            if "node" in fields:
                entry = replace(entry, node=self._node(tx, request.node))
            if "ttl" in fields:
                entry = replace(entry, ttl=self._ttl(request.ttl_seconds))
            if "dns" in fields:
                entry = replace(entry, dns_names=tuple(request.dns_names))
            if "cn" in fields:
                entry = replace(entry, common_name=request.common_name)
            if "hint" in fields:
                entry = replace(entry, hint=request.hint)
            if "revoke" in fields:
                entry = replace(entry, revoke_when_lost=request.revoke_when_lost)
            self._check(entry)
            duplicate = find_duplicate(entry, self._state.entries.values())
            if duplicate is not None:
                raise AlreadyExistsError(f"entry {duplicate.id} says the same")
            tx.entries.update(entry)
            return self._done(tx, changes, before, entry, actor, "entry.update")

        return command

    def delete(self, request: admin_pb2.EntryRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with an `EntryResponse` that shows what is gone. What was issued lives to its end."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            before = _existing(tx, request.id)
            tx.entries.delete(before.id)
            return self._done(tx, changes, before, None, actor, "entry.delete")

        return command

    def get(self, reader: Reader, request: admin_pb2.EntryRequest) -> admin_pb2.EntryResponse:
        entry = _existing(reader, request.id)
        return admin_pb2.EntryResponse(entry=self._message(entry), warnings=entry_warnings(entry))

    def list(self, reader: Reader, request: admin_pb2.ListEntriesRequest) -> admin_pb2.ListEntriesResponse:
        response = admin_pb2.ListEntriesResponse()
        wanted = from_operator_input(request.spiffe_id) if request.spiffe_id else None
        node = self._node(reader, request.node) if request.node else None
        selector = parse_selector(request.selector) if request.selector else None
        for entry in self._state.entries.values():
            if wanted not in (None, entry.spiffe_id) or node not in (None, entry.node):
                continue
            if selector is None or selector in entry.selectors:
                response.entries.append(self._message(entry))
        return response

    def _message(self, entry: Entry) -> admin_pb2.Entry:
        return entry_message(entry, self._state.demands_on(entry.spiffe_id))

    def _check(self, entry: Entry) -> None:
        check_entry(
            entry,
            trust_domain=self._state.trust_domain,
            min_ttl=self._min_ttl,
            max_ttl=self._state.lifetimes.workload_max,
            ca_names=self._ca_names(),
        )

    def _ttl(self, seconds: int) -> dt.timedelta:
        if not -(2**31) <= seconds < 2**31:
            raise RequestError(f"ttl is out of range: {seconds} s")
        return dt.timedelta(seconds=seconds) if seconds else self._state.lifetimes.workload_default

    def _node(self, reader: Reader, text: str) -> NodeMatch:
        if not text:
            local = reader.meta.get(f"local_agent_name:{self._state.ca_id}")
            if local is None:
                raise RequestError(
                    "entry names no node",
                    hint="say --node AGENT, --node group:NAME, --node selector:TYPE:VALUE or --node any",
                )
            return NodeMatch(kind=NodeKind.NAME, value=local)
        if text == "any" or text.startswith(("name:", "group:", "selector:")):
            return NodeMatch.parse(text, self._state.trust_domain)
        if text.startswith("spiffe://"):
            match = NodeMatch.parse(text, self._state.trust_domain)
            find_agent(reader, match.value)
            return match
        return NodeMatch(kind=NodeKind.NAME, value=find_agent(reader, text).name)

    def _done(
        self, tx: Transaction, changes: Changes, before: Entry | None, after: Entry | None, actor: str, action: str
    ) -> Finish:
        entry = after or before
        if entry is None:
            raise InternalError("a change of an entry has neither before nor after")
        changes.entries.append((before, after))
        detail = {
            "id": str(entry.spiffe_id),
            "selectors": sorted(map(str, entry.selectors)),
            "node": str(entry.node),
            "ttl": int(entry.ttl.total_seconds()),
            "dns": list(entry.dns_names),
            "cn": entry.common_name,
            "revoke_when_lost": entry.revoke_when_lost,
        }
        tx.audit.add(audit.row(self._state.clock(), actor, action, entry.id, detail=detail))
        warnings = entry_warnings(after) if after is not None else []
        return lambda: admin_pb2.EntryResponse(entry=self._message(entry), warnings=warnings)


def _existing(reader: Reader, entry_id: str) -> Entry:
    entry = reader.entries.get(entry_id)
    if entry is None:
        raise NotFoundError(f"no entry has id {entry_id[:80]!a}", hint="inborn entry list shows them")
    return entry


def entry_message(entry: Entry, demands: Sequence[Demand] = ()) -> admin_pb2.Entry:
    message = admin_pb2.Entry(
        id=entry.id,
        spiffe_id=str(entry.spiffe_id),
        selectors=sorted(map(str, entry.selectors)),
        node=str(entry.node),
        ttl_seconds=int(entry.ttl.total_seconds()),
        dns_names=entry.dns_names,
        common_name=entry.common_name,
        hint=entry.hint,
        revision=entry.revision,
        revoke_when_lost=entry.revoke_when_lost,
        demands=[str(demand) for demand in demands],
    )
    message.created_at.FromDatetime(entry.created_at)
    message.updated_at.FromDatetime(entry.updated_at)
    return message


def feed_entry(entry: Entry, demands: Sequence[Demand]) -> feed_pb2.Entry:
    """What an agent is told of an entry, and of what posture policies demand of it."""
    return feed_pb2.Entry(
        id=entry.id,
        spiffe_id=str(entry.spiffe_id),
        selectors=sorted(map(str, entry.selectors)),
        ttl_seconds=int(entry.ttl.total_seconds()),
        hint=entry.hint,
        revision=entry.revision,
        demands=[str(demand) for demand in demands],
        revoke_when_lost=entry.revoke_when_lost,
    )
