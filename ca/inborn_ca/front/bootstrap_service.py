"""The bootstrap port's service: the bundle, and enrollment. Anybody may call it."""

from __future__ import annotations

from inborn_ca.front.caller import Caller
from inborn_ca.front.known_domain import KnownDomain
from inborn_ca.front.serving import UnaryWork
from inborn_ca.link.link import Link
from inborn_proto import ca_pb2, signer_pb2

__all__ = ["BootstrapService"]

NAME = "inborn.v1.Bootstrap"


class BootstrapService:
    """Answers from what the front knows, and hands enrollments to the signer as they came."""

    def __init__(self, link: Link, domain: KnownDomain, api_address: str) -> None:
        self._link = link
        self._domain = domain
        self._api_address = api_address

    @property
    def unary(self) -> dict[str, UnaryWork]:
        return {"GetBundle": self.get_bundle, "Challenge": self.challenge, "Enroll": self.enroll}

    async def get_bundle(self, request: ca_pb2.GetBundleRequest, caller: Caller, seconds: float) -> bytes:
        response = ca_pb2.GetBundleResponse(
            trust_domain=self._domain.trust_domain.name,
            roots=self._domain.bundle.ders(),
            api_address=self._api_address,
            log_id=self._domain.log_id,
        )
        return response.SerializeToString()

    async def challenge(self, request: ca_pb2.ChallengeRequest, caller: Caller, seconds: float) -> bytes:
        return await self._link.call_bytes(
            "/inborn.signer.v1.Signing/Challenge", request.SerializeToString(), timeout=seconds
        )

    async def enroll(self, request: ca_pb2.EnrollRequest, caller: Caller, seconds: float) -> bytes:
        forwarded = signer_pb2.ForwardedEnroll(request=request, origin=caller.origin)
        return await self._link.call_bytes(
            "/inborn.signer.v1.Signing/Enroll", forwarded.SerializeToString(), timeout=seconds
        )
