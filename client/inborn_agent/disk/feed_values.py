"""Between the feeds and the values that the cache takes: from verified messages, and from and to what lies on disk.

Not checked here: signatures and the order of messages (`feed.feed_verifier` does that before).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

from cryptography.hazmat.primitives import serialization

from inborn._internal.feed.feed_content import Authority, DomainUpdate, FeedEntry, NodeUpdate
from inborn._internal.feed.feed_reading import authority_from_wire, entry_from_wire
from inborn._internal.feed.feed_verifier import FeedUpdate
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.wire.messages import InvalidMessage
from inborn.errors import InbornError
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_proto import feed_pb2

__all__ = [
    "domain_change",
    "domain_to_wire",
    "node_change",
    "node_to_wire",
    "read_domain",
    "read_node",
]

# An entry's ID becomes the name of a file.
_ENTRY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_MAX_TTL = dt.timedelta(days=7)  # the longest certificate that a CA issues to a leaf
_MAX_SELECTORS = 128  # of one entry: what an admin types; a process itself may have 512 of a kind
_MAX_DEMANDS = 256  # of all posture policies that hold for one ID: there are some forty facts
_MAX_HINT = 1024  # bytes, SPIFFE Workload API 5.2.1
_MAX_AUTHORITIES = 1024  # a handful of CAs, each with a few alive


def domain_change(update: FeedUpdate, content: DomainUpdate) -> DomainChange:
    """What a verified message of the domain feed says. Raises `InvalidMessage`."""
    return DomainChange(
        log_id=update.log_id,
        revision=update.revision,
        is_snapshot=content.snapshot,
        bundle=content.bundle,
        authorities=_checked(content.authorities) or None,
        revocations=content.revocations,
        dropped=content.dropped,
        revocation_seq=content.revocation_seq,
        log=content.log,
    )


def node_change(update: FeedUpdate, content: NodeUpdate, trust_domain: TrustDomain) -> tuple[NodeChange, list[str]]:
    """What a verified message of this node's feed says, and one line for each entry that means nobody here."""
    entries: list[FeedEntry] = []
    problems: list[str] = []
    removed = list(content.removed)
    for e in content.entries:
        try:
            entries.append(_checked_entry(e, trust_domain))
        except InbornError as error:
            removed.append(e.id)
            problems.append(f"entry {e.id[:40]!a}: {error.message}")
    change = NodeChange(
        node=update.node,
        log_id=update.log_id,
        revision=update.revision,
        is_snapshot=content.snapshot,
        entries=tuple(entries),
        removed=tuple(removed),
    )
    return change, problems


def read_domain(body: feed_pb2.FeedBody, trust_domain: TrustDomain, log: RevocationLog) -> DomainChange:
    """A snapshot of the domain as it lies on disk, with its revocation log.

    Raises `InvalidMessage` or another `RequestError`: half of such a message would be an open door.
    """
    update = body.domain
    if not update.snapshot or (log.log_id, log.seq) != (body.log_id, update.revocation_seq):
        raise InvalidMessage("it is no snapshot, or not with its own revocations")
    if not update.roots:
        raise InvalidMessage("domain snapshot has no roots")
    if len(update.authorities) > _MAX_AUTHORITIES:
        raise InvalidMessage(f"domain update has more than {_MAX_AUTHORITIES} authorities: {len(update.authorities)}")
    return DomainChange(
        log_id=body.log_id,
        revision=body.revision,
        is_snapshot=update.snapshot,
        bundle=X509Bundle.parse(trust_domain, list(update.roots)) if update.roots else None,
        authorities=_checked(authority_from_wire(a) for a in update.authorities) or None,
        revocations=(),
        dropped=(),
        revocation_seq=update.revocation_seq,
        log=log,
    )


def read_node(body: feed_pb2.FeedBody, trust_domain: TrustDomain) -> NodeChange:
    """A snapshot of the node feed as it lies on disk. Raises `InvalidMessage` or another `RequestError`."""
    update = body.node_update
    return NodeChange(
        node=parse_spiffe_id(body.node),
        log_id=body.log_id,
        revision=body.revision,
        is_snapshot=update.snapshot,
        entries=tuple(_checked_entry(entry_from_wire(wire), trust_domain) for wire in update.entries),
        removed=tuple(update.removed),
    )


def domain_to_wire(cache: Cache) -> feed_pb2.FeedBody:
    """All that is known of the domain, as a snapshot; without the revocations."""
    log_id, revision = cache.domain_mark
    return feed_pb2.FeedBody(
        trust_domain=str(cache.trust_domain),
        log_id=log_id,
        revision=revision,
        domain=feed_pb2.DomainUpdate(
            snapshot=True,
            roots=cache.bundle.ders() if cache.bundle is not None else [],
            authorities=[
                feed_pb2.AuthorityState(
                    certificate=a.certificate.public_bytes(serialization.Encoding.DER),
                    state=a.state.name,  # the names are the same
                    crl=a.crl,
                )
                for a in cache.authorities
            ],
            revocation_seq=cache.revocations.seq,
        ),
    )


def node_to_wire(cache: Cache) -> feed_pb2.FeedBody:
    """All that is known of this node, as a snapshot."""
    log_id, revision = cache.node_mark
    return feed_pb2.FeedBody(
        trust_domain=str(cache.trust_domain),
        log_id=log_id,
        node=str(cache.node or ""),
        revision=revision,
        node_update=feed_pb2.NodeUpdate(
            snapshot=True,
            entries=[
                feed_pb2.Entry(
                    id=entry.id,
                    spiffe_id=str(entry.spiffe_id),
                    selectors=sorted(str(selector) for selector in entry.selectors),
                    ttl_seconds=int(entry.ttl.total_seconds()),
                    hint=entry.hint,
                    revision=entry.revision,
                    demands=[str(demand) for demand in entry.demands],
                    revoke_when_lost=entry.revoke_when_lost,
                )
                for entry in cache.entries
            ],
        ),
    )


def _checked_entry(entry: FeedEntry, trust_domain: TrustDomain) -> FeedEntry:
    if not _ENTRY_ID.fullmatch(entry.id):
        raise InvalidMessage("its ID is no UUID")
    spiffe_id = entry.spiffe_id
    if spiffe_id.trust_domain != trust_domain or not spiffe_id.path or spiffe_id.is_reserved:
        raise InvalidMessage(f"{spiffe_id} is no workload's ID in {trust_domain}")
    if not 1 <= len(entry.selectors) <= _MAX_SELECTORS:
        raise InvalidMessage(f"it has {len(entry.selectors)} selectors, must have 1 to {_MAX_SELECTORS}")
    if len(entry.demands) > _MAX_DEMANDS:
        raise InvalidMessage(f"posture policies demand {len(entry.demands)} facts, at most {_MAX_DEMANDS}")
    ttl = entry.ttl.total_seconds()
    if not 0 < ttl <= _MAX_TTL.total_seconds():
        raise InvalidMessage(f"its life is {ttl:.0f} s, must be 1 to {_MAX_TTL.total_seconds():.0f}")
    if len(entry.hint.encode()) > _MAX_HINT:
        raise InvalidMessage(f"its hint is longer than {_MAX_HINT} bytes")
    return entry


def _checked(authorities: Iterable[Authority]) -> tuple[Authority, ...]:
    checked = tuple(authorities)
    if not all(authority.key_id for authority in checked):
        raise InvalidMessage("certificate of an authority has no subject key identifier")
    return checked
