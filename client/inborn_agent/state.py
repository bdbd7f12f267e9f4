"""What an agent remembers on disk of what the CA said: bundle, authorities, revocations, entries.

Two files in the form of the feeds' own snapshots, so that there is one parser for what comes from the CA and from the
disk; and one for the rules of former log_ids, which stay in force. A file that cannot be read is set aside: the CA
sends everything anew, and until then the agent has nothing to serve.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from google.protobuf.message import DecodeError

from inborn.disk import CorruptFile, read_sealed, set_aside, write_sealed
from inborn.errors import InbornError
from inborn.frames import FrameReader, encode_frame
from inborn.log import get_logger
from inborn.spiffeid import TrustDomain
from inborn_agent.cache import Cache
from inborn_agent.feed_values import (
    domain_to_wire,
    former_to_wire,
    node_to_wire,
    read_domain,
    read_former,
    read_node,
)
from inborn_proto import feed_pb2

__all__ = ["State"]

_log = get_logger("agent.state")

_MAX_BODY = 16 * 1024 * 1024  # octets: as large as a message of a feed may be


class State:
    """The files in `directory`. Methods block; those that write may run in a thread, one at a time."""

    def __init__(self, directory: Path) -> None:
        self._domain = directory / "domain.cache"
        self._former = directory / "former.cache"
        self._node = directory / "node.cache"

    def load(self, cache: Cache, now: dt.datetime) -> None:
        """Fill an empty cache with what is remembered of its trust domain."""
        former = self._read(self._former)
        domain = self._read(self._domain)
        node = self._read(self._node)
        try:
            # Without what was known last, the logs before it are not the whole truth either; but a denial holds.
            for body in _bodies(former, cache.trust_domain):
                cache.revocations.apply_snapshot(*read_former(body))
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._former), reason=error.message)
        try:
            for body in _bodies(domain, cache.trust_domain):
                cache.apply_domain(read_domain(body, cache.trust_domain), now)
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._domain), reason=error.message)
            return  # entries without the revocations that belong to them are not to be served
        try:
            for body in _bodies(node, cache.trust_domain):
                cache.apply_node(read_node(body, cache.trust_domain), now)
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._node), reason=error.message)

    def domain_bytes(self, cache: Cache) -> tuple[bytes, bytes]:
        """What `save_domain` writes; taken at once, so that the cache may go on changing meanwhile."""
        former = b"".join(encode_frame(body.SerializeToString()) for body in former_to_wire(cache))
        return encode_frame(domain_to_wire(cache).SerializeToString()), former

    def save_domain(self, octets: tuple[bytes, bytes]) -> None:
        """Raises `UnavailableError`. The rules of former log_ids first: none may be lost in between."""
        domain, former = octets
        if former or self._former.exists():
            write_sealed(self._former, former)
        write_sealed(self._domain, domain)

    def node_bytes(self, cache: Cache) -> bytes:
        """What `save_node` writes."""
        return encode_frame(node_to_wire(cache).SerializeToString())

    def save_node(self, octets: bytes) -> None:
        """Raises `UnavailableError`."""
        write_sealed(self._node, octets)

    def _read(self, path: Path) -> bytes:
        try:
            return read_sealed(path) or b""
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(path), reason=error.message)
            return b""


def _bodies(data: bytes, trust_domain: TrustDomain) -> list[feed_pb2.FeedBody]:
    """The messages in a file. Raises `CorruptFile`, `FrameTooLarge`."""
    reader = FrameReader(limit=_MAX_BODY)
    try:
        bodies = [feed_pb2.FeedBody.FromString(payload) for payload in reader.feed(data)]
    except DecodeError as error:
        raise CorruptFile("it is not a message of a feed") from error
    if not reader.is_empty:
        raise CorruptFile("it is cut off")
    for body in bodies:
        if body.trust_domain != str(trust_domain):
            raise CorruptFile(f"it is of trust domain {body.trust_domain!a}, not {trust_domain}")
    return bodies
