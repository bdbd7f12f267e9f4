"""Getting in with a join token, whoever gives it: a file, a program's argument, or the CA on the same host."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Protocol

from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn.errors import DeniedError, RequestError
from inborn_member.bootstrap import enroll_with_token
from inborn_member.enrolled import Enrolled
from inborn_member.way_in import EnrollingKeys, WrongIdentity

__all__ = ["TokenSupply", "TokenWayIn"]


class TokenSupply(Protocol):
    """Gives tokens."""

    async def token(self, former: SpiffeId | None, /) -> tuple[JoinToken, str]:
        """A token to enroll with, as `former` if it was a member before, and the bootstrap address to go to.

        Raises `NoEvidence`, `UnavailableError`, `RequestError`.
        """
        ...

    def spent(self, token_id: bytes, /) -> None:
        """This one has been used, or is refused: it is not to be tried again."""
        ...


class TokenWayIn:
    """A `WayIn`. `check` raises `WrongIdentity` for a SPIFFE ID that is not such a member's."""

    def __init__(self, trust_domain: TrustDomain, tokens: TokenSupply, check: Callable[[SpiffeId], None]) -> None:
        self._trust_domain = trust_domain
        self._tokens = tokens
        self._check = check

    async def enroll(self, keys: EnrollingKeys, former: SpiffeId | None) -> Enrolled:
        token, address = await self._tokens.token(former)
        try:
            if token.trust_domain != self._trust_domain:
                raise WrongIdentity(
                    f"token is of trust domain {token.trust_domain}, what is kept here is of {self._trust_domain}",
                    hint="choose another directory: an agent (--data-dir), and each daemon, has one of its own",
                )
            key = await asyncio.to_thread(keys.enrolling_key, token.id)
            enrolled = await enroll_with_token(token, address, key)
            self._check(enrolled.svid.spiffe_id)
        except (RequestError, DeniedError):
            self._tokens.spent(token.id)
            raise
        return dataclasses.replace(enrolled, evidence=token.id)

    def used(self, evidence: bytes) -> None:
        self._tokens.spent(evidence)
