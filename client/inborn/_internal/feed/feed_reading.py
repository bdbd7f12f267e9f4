"""Reads what messages of the CA's feeds say.

Not checked here: signatures and the order of messages (`feed.feed_verifier` does that).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence

from inborn._internal.feed.feed_content import (
    Authority,
    DomainUpdate,
    FeedEntry,
    Heartbeat,
    NodeUpdate,
    SnapshotPart,
)
from inborn._internal.revocation.revocation_log import LogPart
from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.selectors.demand import parse_demand
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import load_certificate
from inborn._internal.wire.messages import revocation_from_wire
from inborn.errors import RequestError
from inborn_proto import feed_pb2

__all__ = ["SNAPSHOT_ID_SIZE", "InvalidFeed", "authority_from_wire", "entry_from_wire", "read_content"]

SNAPSHOT_ID_SIZE = 16  # bytes
_MAX_AUTHORITIES = 256  # issuing authorities and roots of one trust domain: a few for each of its CAs
_MAX_CRL_SIZE = 8 * 1024 * 1024  # bytes: 200,000 revoked certificates


class InvalidFeed(RequestError):
    """A message of a feed cannot be read."""


def read_content(
    body: feed_pb2.FeedBody, trust_domain: TrustDomain, *, is_node_feed: bool
) -> DomainUpdate | SnapshotPart | NodeUpdate | Heartbeat:
    """What a message says. Raises `InvalidFeed` and other `RequestError`s. Not checked: who says it, and its place."""
    match body.WhichOneof("content"):
        case "domain" if not is_node_feed and body.domain.snapshot:
            return _snapshot_part(body, trust_domain)
        case "domain" if not is_node_feed:
            return _domain_update(body.domain, trust_domain)
        case "node_update" if is_node_feed:
            return _node_update(body.node_update)
        case "heartbeat":
            beat = body.heartbeat
            return Heartbeat(revocation_seq=beat.revocation_seq, interval=dt.timedelta(milliseconds=beat.interval_ms))
        case other:
            raise InvalidFeed(f"{'node' if is_node_feed else 'domain'} feed has content {other!r}")


def _domain_update(wire: feed_pb2.DomainUpdate, trust_domain: TrustDomain) -> DomainUpdate:
    if wire.HasField("serials"):
        raise InvalidFeed("an update of the domain feed has packed revocations")
    return DomainUpdate(
        snapshot=False,
        bundle=X509Bundle.parse(trust_domain, list(wire.roots)) if wire.roots else None,
        authorities=_authorities(wire),
        revocations=_revocations(wire.revocations, wire.revocation_seq),
        dropped=tuple(wire.dropped),
        revocation_seq=wire.revocation_seq,
    )


def _snapshot_part(body: feed_pb2.FeedBody, trust_domain: TrustDomain) -> SnapshotPart:
    wire = body.domain
    if (wire.part == 0) != bool(wire.roots):
        raise InvalidFeed("snapshot of the domain feed has no roots, or has them twice")
    if wire.part and wire.authorities:
        raise InvalidFeed("snapshot of the domain feed has authorities twice")
    if len(wire.snapshot_id) not in (0, SNAPSHOT_ID_SIZE):
        raise InvalidFeed(f"snapshot_id has {len(wire.snapshot_id)} bytes, not {SNAPSHOT_ID_SIZE}")
    return SnapshotPart(
        log_id=body.log_id,
        revision=body.revision,
        id=wire.snapshot_id,
        number=wire.part,
        more=wire.more,
        bundle=X509Bundle.parse(trust_domain, list(wire.roots)) if wire.roots else None,
        authorities=_authorities(wire),
        revocations=LogPart(
            authorities=tuple(wire.serials.authorities),
            records=wire.serials.records,
            revocations=_revocations(wire.revocations, wire.revocation_seq),
        ),
        revocation_seq=wire.revocation_seq,
    )


def _authorities(wire: feed_pb2.DomainUpdate) -> tuple[Authority, ...]:
    if len(wire.authorities) > _MAX_AUTHORITIES:
        raise InvalidFeed(f"domain feed has more than {_MAX_AUTHORITIES} authorities: {len(wire.authorities)}")
    return tuple(authority_from_wire(authority) for authority in wire.authorities)


def _revocations(wire: Sequence[feed_pb2.Revocation], seq: int) -> tuple[Revocation, ...]:
    revocations = tuple(revocation_from_wire(revocation) for revocation in wire)
    if any(later.seq <= earlier.seq for earlier, later in itertools.pairwise(revocations)):
        raise InvalidFeed("revocations do not come by rising seq")
    if revocations and revocations[-1].seq > seq:
        raise InvalidFeed(f"revocation {revocations[-1].seq} lies beyond the log's length {seq}")
    return revocations


def authority_from_wire(wire: feed_pb2.AuthorityState) -> Authority:
    """Raises `InvalidFeed` and what `load_certificate` raises."""
    if len(wire.crl) > _MAX_CRL_SIZE:
        raise InvalidFeed(f"a CRL is larger than {_MAX_CRL_SIZE} bytes: {len(wire.crl)}")
    try:
        state = AuthorityState[feed_pb2.AuthorityState.State.Name(wire.state)]
    except (KeyError, ValueError) as e:
        raise InvalidFeed(f"an authority is in state {wire.state}, which this version does not know") from e
    return Authority.of(load_certificate(wire.certificate), state, wire.crl)


def _node_update(wire: feed_pb2.NodeUpdate) -> NodeUpdate:
    return NodeUpdate(
        snapshot=wire.snapshot,
        entries=tuple(entry_from_wire(entry) for entry in wire.entries),
        removed=tuple(wire.removed),
    )


def entry_from_wire(wire: feed_pb2.Entry) -> FeedEntry:
    """Read an entry. Raises `InvalidFeed` and other `RequestError`s: half of one would be an open door."""
    if not wire.id or not wire.selectors or wire.ttl_seconds < 0:
        raise InvalidFeed(f"entry {wire.id!a} has no ID, no selector or a negative life")
    return FeedEntry(
        id=wire.id,
        spiffe_id=parse_spiffe_id(wire.spiffe_id),
        selectors=frozenset(parse_selector(selector) for selector in wire.selectors),
        ttl=dt.timedelta(seconds=wire.ttl_seconds),
        hint=wire.hint,
        revision=wire.revision,
        demands=tuple(parse_demand(demand) for demand in wire.demands),
        revoke_when_lost=wire.revoke_when_lost,
    )
