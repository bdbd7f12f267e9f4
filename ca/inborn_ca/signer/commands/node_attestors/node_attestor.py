"""What every kind of evidence has in common: what it is given, what it answers, what it may do.

A node attestor says whom the evidence speaks for, and proves that whoever sends it has a right to it *and meant this
very CSR*: its proof is over the body that holds the CSR. What follows is the same for every kind and lies in
`enrollment`: bans, blocks, what the same member had before, its row, the certificate, the audit trail.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.records import Member, MemberKind
from inborn_ca.store.interface import Transaction

__all__ = ["AttestedNode", "NodeAttestor", "ShownEvidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvidence:
    """What came with an enrollment. Proven so far: that the requester holds the CSR's key, and, where the kind wants a
    challenge, that it is fresh, of this CA, and made for that key."""

    octets: bytes
    """What the kind says that its evidence is."""
    body: bytes
    """The serialized body of the enrollment: what the proof is over."""
    proof: bytes
    key_hash: bytes
    """SHA-256 of the CSR's key."""
    origin: str
    """Where it came from, as the front saw it: for messages, never for decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedNode:
    """Whom the evidence speaks for."""

    subject: str
    """Which evidence of its kind, for the member's row."""
    actor: str
    """As the audit trail names whoever came with it."""
    member: MemberKind
    spiffe_id: SpiffeId | None
    """None: a new agent, whose ID is chosen at random."""
    selectors: tuple[Selector, ...] = ()
    name: str = ""
    groups: tuple[str, ...] = ()
    is_reattestable: bool = False
    """The same evidence may come again, with a new key, as long as it holds."""
    holder: SpiffeId | None = None
    """Who has enrolled with this very evidence and key before: a reply was lost, and is given again."""


class NodeAttestor(Protocol):
    """One kind of evidence. Used inside of a transaction, on the signer's one thread."""

    @property
    def kind(self) -> str:
        """Its name on the wire, in the audit trail and as the type of its selectors."""
        ...

    @property
    def needs_challenge(self) -> bool:
        """Whether its proof has to be fresh. What can be used a counted number of times need not be."""
        ...

    def attest(self, evidence: ShownEvidence, *, now: dt.datetime, tx: Transaction) -> AttestedNode:
        """Believe the evidence, or raise `RequestError` (it cannot be read) or `DeniedError` (it is not believed).

        Writes nothing. An error's facts may say the `actor`, once that much is proven.
        """
        ...

    def enrolled(
        self, node: AttestedNode, spiffe_id: SpiffeId, key_hash: bytes, *, now: dt.datetime, tx: Transaction
    ) -> None:
        """The node was let in under this ID: whatever is used up by it is used up now."""
        ...

    def shut_out(self, member: Member, *, now: dt.datetime, tx: Transaction) -> None:
        """The member is banned: take back what else would let it in. (The ban itself holds for every kind.)"""
        ...
