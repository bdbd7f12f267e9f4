"""What every kind of evidence can do for the joiner: say what it is, whom it goes to, and prove."""

from __future__ import annotations

from typing import Protocol

from inborn._internal.spiffe.spiffe_id import TrustDomain

__all__ = ["NodeEvidence"]


class NodeEvidence(Protocol):
    """Evidence for one enrollment. Nothing secret of it ever crosses the wire."""

    @property
    def kind(self) -> str:
        """Its name on the wire."""
        ...

    @property
    def id(self) -> bytes:
        """Names the evidence: the key that is enrolled with it is kept under this name until it has succeeded."""
        ...

    @property
    def trust_domain(self) -> TrustDomain: ...

    @property
    def bundle_digest(self) -> bytes:
        """Of the whole bundle of the CA that it goes to: known beforehand, so that nobody else is told anything."""
        ...

    @property
    def advice(self) -> str:
        """What to do where the CA has another bundle now."""
        ...

    @property
    def needs_challenge(self) -> bool: ...

    def encode(self) -> bytes:
        """What the CA is shown."""
        ...

    def prove(self, body: bytes) -> bytes:
        """The proof over an enrollment's serialized body."""
        ...
