"""What a group of commands changed, for everybody who has to know once it is committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from inborn._internal.revocation.revocation_set import Revocation
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn_ca.model.posture_policy import PosturePolicy
from inborn_ca.model.registration_entry import Entry

__all__ = ["Changes"]


@dataclass(slots=True)
class Changes:
    """Filled by commands, merged in their order; a command that was refused leaves nothing here."""

    revocations: list[Revocation] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    authorities: bool = False
    roots: bool = False
    entries: list[tuple[Entry | None, Entry | None]] = field(default_factory=list)
    """Each as (before, after)."""
    posture_policies: list[PosturePolicy] | None = None
    """All posture policies of the trust domain as they are now, when one was made or deleted: every node feed starts
    anew."""
    members: list[SpiffeId] = field(default_factory=list)
    """Whose names, groups or state changed: their node feed starts anew."""
    disconnect: list[SpiffeId] = field(default_factory=list)
    """Whose streams are to be ended."""
    expanding: bool = False
    """An expansion was opened."""
    revoking: bool = False
    """An authority is to be revoked."""

    @property
    def touches_domain(self) -> bool:
        """Whether the domain feed has something to say."""
        return bool(self.revocations or self.dropped or self.authorities or self.roots)

    def merge(self, other: Changes) -> None:
        self.revocations += other.revocations
        self.dropped += other.dropped
        self.authorities |= other.authorities
        self.roots |= other.roots
        self.entries += other.entries
        if other.posture_policies is not None:
            self.posture_policies = other.posture_policies
        self.members += other.members
        self.disconnect += other.disconnect
        self.expanding |= other.expanding
        self.revoking |= other.revoking
