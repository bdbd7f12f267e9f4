"""What an agent remembers on disk of what the CA said: bundle, authorities, revocations, entries.

Two files in the form of the feeds' own snapshots, so that there is one parser for what comes from the CA and from the
disk, the domain's with the revocations behind it as libraries are given them; and one for the revocations of former
log_ids, which stay in force. A file that cannot be read is set aside: the CA sends everything anew, and until then the
agent has nothing to serve.
"""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

from google.protobuf.message import DecodeError

from inborn._internal.host.files import CorruptFile, read_sealed, set_aside, write_sealed
from inborn._internal.host.log import get_logger
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.wire.frames import encode_frame
from inborn.errors import InbornError
from inborn_agent.cache.cache import Cache
from inborn_agent.disk.feed_values import (
    domain_to_wire,
    node_to_wire,
    read_domain,
    read_node,
)
from inborn_member.kept_revocations import frames_in, log_frames, read_logs
from inborn_proto import feed_pb2

__all__ = ["KeptState"]

_log = get_logger("agent.state")


class KeptState:
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
            for log in read_logs(frames_in(former)):
                cache.revocations.apply_log(log)
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._former), reason=error.message)
        try:
            frames = frames_in(domain)
            for frame in itertools.islice(frames, 1):
                logs = read_logs(frames)
                if len(logs) != 1:
                    raise CorruptFile(f"it has {len(logs)} revocation logs")
                cache.apply_domain(read_domain(_body(frame, cache.trust_domain), cache.trust_domain, logs[0]), now)
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._domain), reason=error.message)
            return  # entries without the revocations that belong to them are not to be served
        try:
            for frame in frames_in(node):
                cache.apply_node(read_node(_body(frame, cache.trust_domain), cache.trust_domain), now)
        except InbornError as error:
            _log.warning("cache.set_aside", file=set_aside(self._node), reason=error.message)

    def domain_bytes(self, cache: Cache) -> tuple[list[bytes], list[bytes]]:
        """What `save_domain` writes; taken at once, so that the cache may go on changing meanwhile."""
        *former, current = [log_frames(log) for log in cache.revocations.logs()] or [[]]
        domain = [encode_frame(domain_to_wire(cache).SerializeToString()), *current]
        return domain, [frame for frames in former for frame in frames]

    def save_domain(self, octets: tuple[list[bytes], list[bytes]]) -> None:
        """Raises `UnavailableError`. The revocations of former log_ids first: none may be lost in between."""
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


def _body(frame: bytes, trust_domain: TrustDomain) -> feed_pb2.FeedBody:
    try:
        body = feed_pb2.FeedBody.FromString(frame)
    except DecodeError as error:
        raise CorruptFile("it is not a message of a feed") from error
    if body.trust_domain != str(trust_domain):
        raise CorruptFile(f"it is of trust domain {body.trust_domain!a}, not {trust_domain}")
    return body
