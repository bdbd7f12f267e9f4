"""How a member gets in where it has no usable certificate: the one seam between the identity and kinds of evidence.

`OwnIdentity` decides when to enroll, keeps what came of it and renews it; a `WayIn` knows what to show to whom.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import RequestError, UnavailableError
from inborn_member.enrolled import Enrolled

__all__ = ["EnrollingKeys", "NoEvidence", "WayIn", "WrongIdentity"]


class NoEvidence(UnavailableError):
    """There is nothing to enroll with that has not been shown in vain. Somebody may bring it."""


class WrongIdentity(RequestError):
    """The directory, the evidence, or the identity that the CA gives for it, is somebody else's."""


class EnrollingKeys(Protocol):
    """Keys of enrollments that are under way. Blocks."""

    def enrolling_key(self, evidence: bytes) -> ec.EllipticCurvePrivateKey:
        """The one key that is enrolled with the evidence of this name, kept before anybody is asked; the same for each
        attempt. Raises `UnavailableError`."""
        ...


class WayIn(Protocol):
    """Gets a first certificate."""

    async def enroll(self, keys: EnrollingKeys, former: SpiffeId | None) -> Enrolled:
        """One attempt, as `former` if it was a member before. What comes back names its evidence.

        Raises `NoEvidence`; `RequestError` and `DeniedError` where this evidence is refused, which is then not shown
        again; `UnavailableError` and others where the same attempt may succeed later.
        """
        ...

    def used(self, evidence: bytes) -> None:
        """The identity that came of it is kept: it is not to be shown again.

        A second key that comes with evidence for one key alone is an alarm at the CA.
        """
        ...
