"""The two feeds that the signer pushes, each message signed once whatever the number of readers.

The log key is made when the signer starts, lives in its memory alone, and is certified for `/inborn/ca/<id>/log`, so
that nothing between signer and agent can add a root, a revocation or an entry. A feed message names the revision before
it: whoever misses one sees the gap.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.feed.feed_reading import SNAPSHOT_ID_SIZE
from inborn._internal.revocation.revocation_log import LogPart
from inborn._internal.wire.messages import revocation_to_wire
from inborn._internal.wire.signed_request import FEED_CONTEXT, sign_octets
from inborn.errors import PreconditionError
from inborn_ca.model.records import CertificateKind, Member
from inborn_ca.model.registration_entry import Entry
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.entries import feed_entry
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState, certificate_der
from inborn_ca.store.interface import Transaction
from inborn_proto import feed_pb2, signer_pb2

__all__ = ["HEARTBEAT", "Feeds"]

HEARTBEAT = dt.timedelta(seconds=5)
_GIVEN_SNAPSHOTS = 2  # that the front can go on to fetch: the present one and the one before


@dataclass(slots=True)
class _NodeFeed:
    """One agent that listens: what was last said to it."""

    member: Member | None
    revision: int


class Feeds:
    """Makes feed messages and hands them to `publish(node, message)`."""

    def __init__(self, state: SignerState, publish: Callable[[str, feed_pb2.FeedMessage], None]) -> None:
        self._state = state
        self._publish = publish
        self._key = ed25519.Ed25519PrivateKey.generate()
        self._chain: list[bytes] = []
        self.log_authority = b""
        """Key identifier of the authority that certified the log key."""
        self._chain_made_at = state.clock()
        self._chain_ends_at = state.clock()
        self._nodes: dict[str, _NodeFeed] = {}
        self._snapshot: tuple[feed_pb2.FeedMessage, ...] = ()
        self._snapshot_revision = 0
        self._given: dict[bytes, tuple[feed_pb2.FeedMessage, ...]] = {}
        self._made_at_ms = 0

    # -- the log key -------------------------------------------------------------------------------------------------

    def certify_log_key(self, tx: Transaction, changes: Changes) -> Finish:
        """The command that certifies the log key (again)."""
        pending = self._state.certify(
            tx,
            kind=CertificateKind.LOG,
            spiffe_id=self._state.ca_name("log"),
            public_key=self._key.public_key(),
            ttl=self._state.lifetimes.log,
        )

        def finish() -> None:
            self._chain = [pending.sign(), certificate_der(pending.issuer.certificate)]
            self.log_authority = pending.issuer.key_id
            self._chain_made_at = self._state.clock()
            self._chain_ends_at = pending.prepared.not_after
            self._snapshot = ()

        return finish

    def is_log_key_due(self, now: dt.datetime) -> bool:
        """Whether half of the log certificate's life is over."""
        return now >= self._chain_made_at + (self._chain_ends_at - self._chain_made_at) / 2

    # -- messages ----------------------------------------------------------------------------------------------------

    def domain_snapshot(self) -> tuple[feed_pb2.FeedMessage, ...]:
        """All that the domain feed has said, in as many messages as it takes; kept until something changes."""
        if self._snapshot and self._snapshot_revision == self._state.domain_revision:
            return self._snapshot
        self._snapshot_revision = self._state.domain_revision
        snapshot_id = secrets.token_bytes(SNAPSHOT_ID_SIZE)
        *_, log = self._state.revocations.logs()
        parts = _joined(log.parts())
        self._snapshot = tuple(
            self._snapshot_message(part, snapshot_id, number, more=number + 1 < len(parts))
            for number, part in enumerate(parts)
        )
        while len(self._given) >= _GIVEN_SNAPSHOTS:
            del self._given[next(iter(self._given))]
        self._given[snapshot_id] = self._snapshot
        return self._snapshot

    def snapshot_part(self, request: signer_pb2.DomainSnapshotRequest) -> feed_pb2.FeedMessage:
        """The first message of the present snapshot, or a further one of a snapshot whose first was given.

        Raises `PreconditionError` where that one has been replaced meanwhile.
        """
        messages = self._given.get(request.snapshot_id) if request.snapshot_id else self.domain_snapshot()
        if messages is None or request.part >= len(messages):
            raise PreconditionError("that snapshot is not kept any more", hint="begin with the first part")
        return messages[request.part]

    def _snapshot_message(self, part: LogPart, snapshot_id: bytes, number: int, *, more: bool) -> feed_pb2.FeedMessage:
        update = feed_pb2.DomainUpdate(
            snapshot=True,
            revocations=[
                revocation_to_wire(revocation)
                for revocation in sorted(part.revocations, key=lambda revocation: revocation.seq)
            ],
            revocation_seq=self._state.revocations.seq,
            snapshot_id=snapshot_id,
            part=number,
            more=more,
        )
        if part.records:
            update.serials.CopyFrom(feed_pb2.PackedSerials(authorities=part.authorities, records=part.records))
        if number == 0:
            update.roots.extend(self._state.bundle.ders())
            update.authorities.extend(self._authorities())
        revision = self._state.domain_revision
        return self._message(feed_pb2.FeedBody(revision=revision, previous=revision, domain=update))

    def open_node(self, node: str, member: Member | None, entries: list[Entry]) -> feed_pb2.FeedMessage:
        """Begin an agent's node feed and return its snapshot; an enrolled daemon's is empty."""
        revision = self._state.entry_revision
        self._nodes[node] = _NodeFeed(member=member, revision=revision)
        mine = [e for e in entries if member is not None and e.node.matches(member)]
        update = feed_pb2.NodeUpdate(snapshot=True, entries=[self._told(e) for e in mine])
        return self._message(feed_pb2.FeedBody(node=node, revision=revision, previous=revision, node_update=update))

    def close_node(self, node: str) -> None:
        self._nodes.pop(node, None)

    def close_all(self) -> None:
        """The front is gone, and all streams with it."""
        self._nodes.clear()

    @property
    def connected(self) -> list[str]:
        """SPIFFE IDs of whoever listens."""
        return sorted(self._nodes)

    def heartbeat(self) -> None:
        """Say that nothing was missed."""
        revision = self._state.domain_revision
        beat = feed_pb2.Heartbeat(
            revocation_seq=self._state.revocations.seq, interval_ms=int(HEARTBEAT.total_seconds() * 1000)
        )
        self._publish("", self._message(feed_pb2.FeedBody(revision=revision, previous=revision, heartbeat=beat)))

    def tell(self, changes: Changes, reload_node: Callable[[str], tuple[Member | None, list[Entry]]]) -> None:
        """Publish what a committed group changed. `reload_node` gives an member and all entries anew."""
        if changes.touches_domain:
            self._tell_domain(changes)
        anew = {str(spiffe_id) for spiffe_id in changes.members}
        if changes.posture_policies is not None:
            anew |= set(self._nodes)
        for node in sorted(anew):
            if node in self._nodes:
                self._publish(node, self.open_node(node, *reload_node(node)))
        if changes.entries:
            self._tell_nodes(changes)

    def _tell_domain(self, changes: Changes) -> None:
        self._snapshot = ()
        update = feed_pb2.DomainUpdate(
            revocations=[revocation_to_wire(revocation) for revocation in changes.revocations],
            dropped=changes.dropped,
            revocation_seq=self._state.revocations.seq,
        )
        if changes.authorities:
            update.authorities.extend(self._authorities())
        if changes.roots:
            update.roots.extend(self._state.bundle.ders())
        revision = self._state.domain_revision
        self._publish("", self._message(feed_pb2.FeedBody(revision=revision, previous=revision - 1, domain=update)))

    def _tell_nodes(self, changes: Changes) -> None:
        revision = self._state.entry_revision
        for node, feed in self._nodes.items():
            update = feed_pb2.NodeUpdate()
            for before, after in changes.entries:
                had = before is not None and feed.member is not None and before.node.matches(feed.member)
                has = after is not None and feed.member is not None and after.node.matches(feed.member)
                if has and after is not None:
                    update.entries.append(self._told(after))
                elif had and before is not None:
                    update.removed.append(before.id)
            if update.entries or update.removed:
                body = feed_pb2.FeedBody(node=node, revision=revision, previous=feed.revision, node_update=update)
                feed.revision = revision
                self._publish(node, self._message(body))

    def _told(self, entry: Entry) -> feed_pb2.Entry:
        return feed_entry(entry, self._state.demands_on(entry.spiffe_id))

    def _authorities(self) -> list[feed_pb2.AuthorityState]:
        return [
            feed_pb2.AuthorityState(
                certificate=certificate_der(authority.certificate), state=authority.state.name, crl=authority.crl
            )
            for authority in self._state.authorities
        ]

    def _message(self, body: feed_pb2.FeedBody) -> feed_pb2.FeedMessage:
        body.trust_domain = self._state.trust_domain.name
        body.log_id = self._state.log_id
        # Later than every message before it, also when the clock was set back: by it readers know what is news.
        self._made_at_ms = max(int(self._state.clock().timestamp() * 1000), self._made_at_ms + 1)
        body.made_at_ms = self._made_at_ms
        octets = body.SerializeToString()
        return feed_pb2.FeedMessage(
            body=octets, signature=sign_octets(self._key, FEED_CONTEXT, octets), log_chain=self._chain
        )


def _joined(parts: Iterable[LogPart]) -> list[LogPart]:
    """The last part with packed revocations takes the first one with others along: most snapshots are one message
    then."""
    joined: list[LogPart] = []
    for part in parts:
        if joined and joined[-1].records and not joined[-1].revocations and not part.records:
            joined[-1] = replace(joined[-1], revocations=part.revocations)
        else:
            joined.append(part)
    return joined
