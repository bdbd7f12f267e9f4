"""A join token as evidence."""

from __future__ import annotations

from dataclasses import dataclass

from inborn._internal.enrollment.join_token import KIND, JoinToken
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.wire.signed_request import sign_octets

__all__ = ["TokenEvidence"]


@dataclass(frozen=True, slots=True)
class TokenEvidence:
    """Shows the token's ID and signs with its key."""

    token: JoinToken

    @property
    def kind(self) -> str:
        return KIND

    @property
    def id(self) -> bytes:
        return self.token.id

    @property
    def trust_domain(self) -> TrustDomain:
        return self.token.trust_domain

    @property
    def bundle_digest(self) -> bytes:
        return self.token.bundle_digest

    @property
    def advice(self) -> str:
        return "ask for a new token"

    @property
    def needs_challenge(self) -> bool:
        return False

    def encode(self) -> bytes:
        return self.token.id

    def prove(self, body: bytes) -> bytes:
        return sign_octets(self.token.private_key, enroll_context(KIND), body)
