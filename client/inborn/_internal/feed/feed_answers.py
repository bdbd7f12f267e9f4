"""What an enrolled daemon tells the CA on its stream: what it has applied, and what it still has to renew. Pure.

An authority that is tainted will be revoked as soon as everybody has renewed; a connection dies with the certificate
that it was opened with. Signs of life are answered now and then, so that a thousand daemons do not answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from inborn._internal.feed.feed_content import Authority, Heartbeat
from inborn._internal.feed.feed_verifier import FeedUpdate
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import UnavailableError
from inborn_proto import ca_pb2

__all__ = ["FeedAnswers"]


class FeedAnswers:
    """Of one daemon. `spread` gives random numbers from 0 to 1."""

    def __init__(self, spread: Callable[[], float]) -> None:
        self._spread = spread
        self._bad: frozenset[bytes] = frozenset()
        self._next = 0.0

    def learn(self, authorities: Iterable[Authority]) -> None:
        """The authorities that the CA names, all of them."""
        self._bad = frozenset(a.key_id for a in authorities if a.state.is_bad)

    def is_outdated(self, svid: X509Svid) -> bool:
        """Whether it must be renewed at once."""
        return svid.facts.authority in self._bad

    def answer(
        self, update: FeedUpdate, revocation_seq: int, monotonic: float, *, own: X509Svid, connection: X509Svid
    ) -> ca_pb2.WatchAck | None:
        """What to say to this message, which has been applied; `connection` is what the stream was opened with.

        Raises `UnavailableError` where the stream is to be opened anew.
        """
        if self.is_outdated(connection) and not self.is_outdated(own):
            raise UnavailableError("the stream was opened with a certificate of an authority that is to be revoked")
        if not (update.is_new or (update.is_fresh and monotonic >= self._next)):
            return None
        if isinstance(update.content, Heartbeat):
            self._next = monotonic + update.content.interval.total_seconds() * (0.5 + self._spread())
        return ca_pb2.WatchAck(
            domain_revision=update.revision,
            revocation_seq=revocation_seq,
            log_id=update.log_id,
            outdated=self.is_outdated(own) + self.is_outdated(connection),
        )
