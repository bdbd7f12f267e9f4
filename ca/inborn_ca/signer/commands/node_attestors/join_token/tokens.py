"""Join tokens: made, listed, withdrawn. The CA keeps a token's public half and never its seed."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable
from dataclasses import replace

from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.spiffe.spiffe_id import SpiffeId, from_operator_input
from inborn.errors import NotFoundError, PreconditionError, RequestError, duration, moment
from inborn_ca.model.records import MemberKind, Token
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.agents import find_agent
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2

__all__ = ["Tokens", "end_tokens", "make_token", "token_message"]

MAX_TTL = dt.timedelta(days=7)  # a token is a credential that lies about; a week is more than an installation takes
MAX_USES = 10_000  # an autoscaling group's worth
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class Tokens:
    """Commands and reads behind `inborn token`."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def create(
        self, request: admin_pb2.CreateTokenRequest, actor: str, bootstrap_address: str
    ) -> Callable[[Transaction, Changes], Finish]:
        """Finishes with a `CreateTokenResponse` that holds the one string."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            kind, spiffe_id = self._for_whom(tx, request)
            ttl = dt.timedelta(seconds=request.ttl_seconds) if request.ttl_seconds else self._state.lifetimes.token
            text, token = make_token(
                self._state,
                tx,
                kind=kind,
                actor=actor,
                spiffe_id=spiffe_id,
                ttl=ttl,
                uses=request.uses or 1,
                name=request.name,
                groups=tuple(request.groups),
            )
            if request.local:
                tx.meta.set(f"local_agent_name:{self._state.ca_id}", request.name)
            response = admin_pb2.CreateTokenResponse(
                token=text, info=token_message(token, 0), bootstrap_address=bootstrap_address
            )
            return lambda: response

        return command

    def _for_whom(self, tx: Transaction, request: admin_pb2.CreateTokenRequest) -> tuple[MemberKind, SpiffeId | None]:
        if request.spiffe_id and (request.agent or request.name or request.groups):
            raise RequestError("a token for one daemon has no agent, name or groups")
        if request.spiffe_id:
            spiffe_id = from_operator_input(request.spiffe_id)
            if spiffe_id.trust_domain != self._state.trust_domain or not spiffe_id.path:
                raise RequestError(f"{spiffe_id} is no identity of trust domain {self._state.trust_domain}")
            if spiffe_id.is_reserved:
                raise RequestError(f"{spiffe_id} lies under the reserved path /inborn/")
            return MemberKind.DAEMON, spiffe_id
        if request.agent:
            agent = find_agent(tx, request.agent)
            if agent.banned_at is not None:
                raise PreconditionError(
                    f"{agent.spiffe_id} is banned since {moment(agent.banned_at)}",
                    hint=f"to let it in again: inborn unblock node:{agent.spiffe_id}",
                )
            return MemberKind.AGENT, agent.spiffe_id
        if request.local:  # this host's agent lost what it had: it is enrolled anew and keeps its entries
            known = tx.members.find_agent(request.name)
            return MemberKind.AGENT, known.spiffe_id if known is not None else None
        return MemberKind.AGENT, None

    def list(self, reader: Reader, request: admin_pb2.ListTokensRequest) -> admin_pb2.ListTokensResponse:
        now = self._state.clock()
        response = admin_pb2.ListTokensResponse()
        used_by = reader.tokens.use_counts()
        for token in reader.tokens.all():
            used = used_by.get(token.id, 0)
            usable = token.withdrawn_at is None and token.expires_at > now and used < token.uses
            if usable or request.all:
                response.tokens.append(token_message(token, used))
        return response

    def revoke(self, request: admin_pb2.RevokeTokenRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Withdraw a token; finishes with a `RevokeTokenResponse`. Who was enrolled with it goes on."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            try:
                token_id = bytes.fromhex(request.id)
            except ValueError as e:
                raise RequestError(f"token id is not hexadecimal: {request.id[:80]!a}") from e
            token = tx.tokens.get(token_id)
            if token is None:
                raise NotFoundError(f"no token has id {request.id}")
            now = self._state.clock()
            if token.withdrawn_at is None:
                tx.tokens.withdraw(token_id, now)
                token = replace(token, withdrawn_at=now)
                tx.audit.add(audit.row(now, actor, "token.withdraw", request.id))
            message = token_message(token, tx.tokens.count_uses(token_id))
            return lambda: admin_pb2.RevokeTokenResponse(token=message)

        return command


def make_token(
    state: SignerState,
    tx: Transaction,
    *,
    kind: MemberKind,
    actor: str,
    ttl: dt.timedelta,
    spiffe_id: SpiffeId | None = None,
    uses: int = 1,
    name: str = "",
    groups: tuple[str, ...] = (),
) -> tuple[str, Token]:
    """Make a token, keep its public half and return the one string and the row."""
    if not dt.timedelta(0) < ttl <= MAX_TTL:
        raise RequestError(f"token's life must be more than nothing and at most {duration(MAX_TTL)}: {duration(ttl)}")
    if not 1 <= uses <= MAX_USES:
        raise RequestError(f"token's uses must be 1 to {MAX_USES}: {uses}")
    if kind is MemberKind.DAEMON and uses != 1:
        raise RequestError("a token for one daemon is used once")
    for label in (*((name,) if name else ()), *groups):
        if not _NAME.fullmatch(label):
            raise RequestError(f"name must be letters, digits, . _ - (at most 63): {label[:80]!a}")
    if name and uses != 1:
        raise RequestError("a token that gives a name is used once")
    namesake = tx.members.find_agent(name) if name else None
    if namesake is not None and namesake.spiffe_id != spiffe_id:
        raise RequestError(f"an agent is called {name} already", hint=f"enroll it anew with: --agent {name}")
    now = state.clock()
    secret = JoinToken(trust_domain=state.trust_domain, bundle_digest=state.bundle.digest(), seed=os.urandom(32))
    token = Token(
        id=secret.id,
        public_key=secret.public_key,
        kind=kind,
        uses=uses,
        created_at=now,
        expires_at=now + ttl,
        created_by=actor,
        spiffe_id=spiffe_id,
        name=name,
        groups=groups,
    )
    tx.tokens.add(token)
    detail = {"kind": str(kind), "id": str(spiffe_id or ""), "uses": uses, "name": name, "groups": list(groups)}
    tx.audit.add(audit.row(now, actor, "token.create", token.id.hex(), detail=detail))
    return secret.encode(), token


def end_tokens(tx: Transaction, now: dt.datetime) -> int:
    """Withdraw all that can still be used; returns how many."""
    ended = 0
    for token in tx.tokens.all():
        if token.withdrawn_at is None and token.expires_at > now:
            tx.tokens.withdraw(token.id, now)
            ended += 1
    return ended


def token_message(token: Token, used: int) -> admin_pb2.Token:
    message = admin_pb2.Token(
        id=token.id.hex(),
        kind=str(token.kind),
        spiffe_id=str(token.spiffe_id or ""),
        name=token.name,
        groups=token.groups,
        uses=token.uses,
        used=used,
        created_by=token.created_by,
    )
    message.created_at.FromDatetime(token.created_at)
    message.expires_at.FromDatetime(token.expires_at)
    if token.withdrawn_at is not None:
        message.withdrawn_at.FromDatetime(token.withdrawn_at)
    return message
