"""Getting in with evidence, of whichever kind and whoever gives it: a token from a file, a program's argument or the CA
on the same host; a certificate of another CA.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Protocol

from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn.errors import DeniedError, RequestError
from inborn_member.bootstrap import enroll
from inborn_member.enrolled import Enrolled
from inborn_member.node_attestors.node_evidence import NodeEvidence
from inborn_member.way_in import EnrollingKeys, WrongIdentity

__all__ = ["EvidenceSupply", "EvidenceWayIn"]


class EvidenceSupply(Protocol):
    """Gives evidence."""

    async def evidence(self, former: SpiffeId | None, /) -> tuple[NodeEvidence, str]:
        """Evidence to enroll with, as `former` if it was a member before, and the bootstrap address to go to.

        Raises `NoEvidence`, `UnavailableError`, `RequestError`, and the CA's own errors.
        """
        ...

    def spent(self, evidence_id: bytes, /) -> None:
        """This one has been used, or is refused: what is good for one use is not to be tried again."""
        ...


class EvidenceWayIn:
    """A `WayIn`. `check` raises `WrongIdentity` for a SPIFFE ID that is not such a member's."""

    def __init__(self, trust_domain: TrustDomain, supply: EvidenceSupply, check: Callable[[SpiffeId], None]) -> None:
        self._trust_domain = trust_domain
        self._supply = supply
        self._check = check

    async def enroll(self, keys: EnrollingKeys, former: SpiffeId | None) -> Enrolled:
        evidence, address = await self._supply.evidence(former)
        try:
            if evidence.trust_domain != self._trust_domain:
                raise WrongIdentity(
                    f"evidence is for trust domain {evidence.trust_domain}, what is kept here is of "
                    f"{self._trust_domain}",
                    hint="choose another directory: an agent (--data-dir), and each daemon, has one of its own",
                )
            key = await asyncio.to_thread(keys.enrolling_key, evidence.id)
            enrolled = await enroll(evidence, address, key)
            self._check(enrolled.svid.spiffe_id)
        except (RequestError, DeniedError):
            self._supply.spent(evidence.id)
            raise
        return dataclasses.replace(enrolled, evidence=evidence.id)

    def used(self, evidence: bytes) -> None:
        self._supply.spent(evidence)
