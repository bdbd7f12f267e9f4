"""The signer's own work, in this process: no RPC, no second process, with and without its database.

What is timed is CPU time of this thread, so that other programs disturb least; requests are made beforehand.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.requests import Holder
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import InbornError
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.model.records import Block, BlockKind, CertificateKind, Issued, Member, MemberKind, RequesterKey
from inborn_ca.model.registration_entry import Entry, NodeKind, NodeMatch
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.authorities import Authorities
from inborn_ca.signer.commands.issuing import Issuing
from inborn_ca.signer.main import open_state
from inborn_ca.signer.queue import Finish, Job, Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2, signer_pb2

__all__ = ["TRUST_DOMAIN", "Signer", "signer"]

TRUST_DOMAIN = "bench.example"
ENTRY = "bench-entry"
SELECTORS = ("unix:uid:1000", "unix:gid:1000", "unix:path:/usr/bin/load")


class NoStore:
    """A transaction of nothing: what is left is policy, parsing, templates and signatures."""

    def __init__(self) -> None:
        self.ledger = self.blocks = self

    def add(self, row: Issued) -> None:
        """Forget it."""

    def find(self, targets: Iterable[tuple[BlockKind, str]]) -> Block | None:
        return None


@dataclass(slots=True)
class Signer:
    """A state with its queue, one entry, and agents that can sign requests."""

    state: SignerState
    queue: Queue
    issuing: Issuing
    agents: list[Holder]

    def batches(self, count: int, items: int) -> list[signer_pb2.ForwardedRequest]:
        """Requests of one agent."""
        return [self._forwarded(self.agents[0], items) for _ in range(count)]

    def singles(self, each: int) -> list[signer_pb2.ForwardedRequest]:
        """Of each agent so many requests with one item, in turn."""
        return [self._forwarded(agent, 1) for _ in range(each) for agent in self.agents]

    def _forwarded(self, agent: Holder, items: int) -> signer_pb2.ForwardedRequest:
        request = agent.request(ENTRY, SELECTORS, items)
        return signer_pb2.ForwardedRequest(request=request, origin="127.0.0.1:1")

    def without_store(self, requests: list[signer_pb2.ForwardedRequest]) -> None:
        """Authorise, prepare and sign, with nothing written."""
        tx: Transaction = NoStore()  # type: ignore[assignment]
        for request in requests:
            _check(self.issuing.issue(request)(tx, Changes())())

    def groups(self, requests: list[signer_pb2.ForwardedRequest], size: int) -> None:
        """Through the queue, so many requests a group, each group durable before it is answered."""
        for start in range(0, len(requests), size):
            self.queue.process(
                [
                    Job(command=self.issuing.issue(request), answer=_check, fail=_fail, needs_savepoint=False)
                    for request in requests[start : start + size]
                ]
            )


@contextmanager
def temporary_core() -> Iterator[SignerState]:
    """A signer's state with a database in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="inborn-bench-") as directory:
        state = open_state(
            Path(directory) / "ca",
            trust_domain=TRUST_DOMAIN,
            lifetimes=Lifetimes(),
            clock=lambda: dt.datetime.now(dt.UTC),
        )
        yield state
        state.store.close()


@contextmanager
def signer(agents: int = 1) -> Iterator[Signer]:
    """A signer that can issue."""
    with temporary_core() as state:
        queue, authorities = Queue(state), Authorities(state)
        run_now(queue, authorities.create())
        for command in authorities.due(heard_by_all=lambda revision: True):
            run_now(queue, command)
        holders: list[Holder] = []
        run_now(queue, _register(state, holders, agents))
        yield Signer(state=state, queue=queue, issuing=Issuing(state), agents=holders)


def run_now(queue: Queue, command: Callable[[Transaction, Changes], Finish]) -> None:
    """One command, in a group of its own."""
    queue.process([Job(command=command, answer=lambda result: None, fail=_fail)])


def _register(state: SignerState, holders: list[Holder], count: int) -> Callable[[Transaction, Changes], Finish]:
    """Rows as enrollment writes them, without its tokens; and one entry."""

    def command(tx: Transaction, changes: Changes) -> Finish:
        now = state.clock()
        entry = Entry(
            id=ENTRY,
            spiffe_id=SpiffeId(trust_domain=state.trust_domain, path="/load"),
            selectors=frozenset({parse_selector(SELECTORS[0])}),
            node=NodeMatch(kind=NodeKind.ANY),
            ttl=dt.timedelta(hours=1),
            created_at=now,
            updated_at=now,
        )
        tx.entries.add(entry)
        changes.entries.append((None, entry))
        for number in range(count):
            holder = Holder(
                key=ec.generate_private_key(ec.SECP256R1()), trust_domain=TRUST_DOMAIN, log_id=state.log_id, serial=b""
            )
            spiffe_id = SpiffeId(trust_domain=state.trust_domain, path=f"/inborn/agent/bench-{number}")
            state.requesters.put_member(tx, Member(spiffe_id=spiffe_id, kind=MemberKind.AGENT, enrolled_at=now))
            state.requesters.put_key(tx, RequesterKey(key_hash=holder.key_hash, spki=holder.spki, spiffe_id=spiffe_id))
            pending = state.certify(
                tx,
                kind=CertificateKind.AGENT,
                spiffe_id=spiffe_id,
                public_key=holder.key.public_key(),
                ttl=state.lifetimes.agent,
                node=spiffe_id,
            )
            holder.serial = pending.prepared.serial
            holders.append(holder)
        return lambda: None

    return command


def _check(response: ca_pb2.IssueResponse) -> None:
    for result in response.results:
        if not result.leaf:
            raise RuntimeError(str(result.error))


def _fail(error: InbornError) -> None:
    raise error
