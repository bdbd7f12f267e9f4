"""Who has applied what: the acknowledgements of connected agents and daemons, and whoever waits for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from inborn_ca.signer.progress import Progress, seconds_to_wait
from inborn_proto import admin_pb2, ca_pb2

__all__ = ["Propagation"]


@dataclass(slots=True)
class _Peer:
    domain_revision: int = 0
    revocation_seq: int = 0
    laggards: tuple[str, ...] = ()
    outdated: int = 0
    heard_at: dt.datetime | None = None


class Propagation:
    """Connected peers by SPIFFE ID. All on the event loop's thread."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        self._progress = Progress()

    def connected(self, peer: str) -> None:
        self._peers[peer] = _Peer()

    def disconnected(self, peer: str) -> None:
        self._peers.pop(peer, None)
        self._progress.moved()

    def all_disconnected(self) -> None:
        self._peers.clear()
        self._progress.moved()

    def acknowledged(self, peer: str, ack: ca_pb2.WatchAck) -> None:
        """Take an acknowledgement; one of somebody who is not connected says nothing."""
        if peer in self._peers:
            self._peers[peer] = _Peer(
                domain_revision=ack.domain_revision,
                revocation_seq=ack.revocation_seq,
                laggards=tuple(text[:300] for text in ack.laggards[:100]),
                outdated=ack.outdated,
                heard_at=self._clock(),
            )
            self._progress.moved()

    def has_revision(self, revision: int) -> bool:
        """Whether every connected peer has applied this revision of the domain feed."""
        return all(peer.domain_revision >= revision for peer in self._peers.values())

    def without_revision(self, revision: int) -> list[str]:
        """Connected peers that have not applied this revision of the domain feed."""
        return sorted(name for name, peer in self._peers.items() if peer.domain_revision < revision)

    def outdated(self, revision: int) -> list[str]:
        """Connected peers that have not, or that still use a certificate of an authority that is tainted."""
        return sorted(name for name, p in self._peers.items() if p.domain_revision < revision or p.outdated)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look at the condition whenever something was acknowledged, and twice a second; False: the time is over."""
        return await self._progress.until(condition, bool, seconds, look_every=0.5)

    def slowest(self, revocation_seq: int) -> int:
        """What every connected peer has applied at least; `revocation_seq` where none is connected."""
        return min((peer.revocation_seq for peer in self._peers.values()), default=revocation_seq)

    def state(self, peer: str) -> tuple[int, tuple[str, ...]] | None:
        """A connected peer's acknowledged revocation_seq and its laggards."""
        known = self._peers.get(peer)
        return None if known is None else (known.revocation_seq, known.laggards)

    def heard_at(self, peer: str) -> dt.datetime | None:
        """When a connected peer last acknowledged something."""
        known = self._peers.get(peer)
        return None if known is None else known.heard_at

    async def wait(self, revocation_seq: int, wait_ms: int) -> admin_pb2.PropagationResponse:
        """Answer when every connected peer has applied the revocation, or after the time."""
        return await self._progress.until(
            lambda: self._response(revocation_seq), lambda response: not response.laggards, seconds_to_wait(wait_ms)
        )

    def _response(self, revocation_seq: int) -> admin_pb2.PropagationResponse:
        response = admin_pb2.PropagationResponse(peers=len(self._peers))
        for name, peer in sorted(self._peers.items()):
            if peer.revocation_seq >= revocation_seq:
                response.applied += 1
            elif peer.laggards:
                response.laggards.extend(f"{laggard} on {name}" for laggard in peer.laggards)
            else:
                response.laggards.append(name)
        return response
