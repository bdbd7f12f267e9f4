"""Where an agent that has to enroll gets its join token from: a file (or standard input), or the CA on the same
host."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.wire import admin_methods
from inborn.errors import RequestError, UnavailableError
from inborn_member.way_in import NoEvidence
from inborn_proto import admin_pb2

__all__ = ["AdminJoiner", "Joiner", "NoJoiner", "NoTokenYet", "TokenFileJoiner"]

_MAX_TOKEN_FILE = 4096  # octets: a token has some 130, and somebody may have put a comment's worth of blanks around it
_TOKEN_LIFE = 60.0  # seconds that a token is tried again before a new one is made; the CA's own limit is ten minutes
_ADMIN_TIMEOUT = 10.0  # seconds for one call over the signer's socket


class NoTokenYet(NoEvidence):
    """There is no token that has not been tried in vain."""


class Joiner(Protocol):
    """Gives tokens."""

    async def token(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        """A token to enroll with, as `agent` if it was one before, and the bootstrap address to go to.

        Raises `NoTokenYet`, `UnavailableError`, and the CA's own errors.
        """
        ...

    def spent(self, token_id: bytes) -> None:
        """This one has been used, or the CA does not take it: it is not to be tried again.

        A second key that comes with a used token is an alarm at the CA.
        """
        ...


class TokenFileJoiner:
    """Reads the token from a file each time that it is needed; `-` is standard input, read once."""

    def __init__(self, path: str, address: str, *, read_stdin: Callable[[], str] | None = None) -> None:
        self._path = path
        self._address = address
        self._read_stdin = read_stdin or (lambda: sys.stdin.read(_MAX_TOKEN_FILE + 1))
        self._from_stdin: str | None = None
        self._spent: set[bytes] = set()

    async def token(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        token = parse_join_token(await asyncio.to_thread(self._text))
        if token.id in self._spent:
            raise NoTokenYet(
                f"the token in {self._path} has been used or was refused",
                hint="an admin makes a new one with `inborn token create"
                + (f" --agent {agent}`" if agent is not None else "`"),
            )
        return token, self._address

    def spent(self, token_id: bytes) -> None:
        self._spent.add(token_id)

    def _text(self) -> str:
        if self._path == "-":
            if self._from_stdin is None:
                self._from_stdin = self._read_stdin()
            text = self._from_stdin
        else:
            try:
                with open(Path(self._path).expanduser(), encoding="ascii", errors="replace") as file:
                    text = file.read(_MAX_TOKEN_FILE + 1)
            except OSError as error:
                raise NoTokenYet(
                    f"token file {self._path} cannot be read: {error.strerror}",
                    hint="an admin makes a token with `inborn token create`",
                ) from error
        if len(text) > _MAX_TOKEN_FILE:
            raise RequestError(f"token file {self._path} is larger than {_MAX_TOKEN_FILE} octets")
        return text


class AdminJoiner:
    """Asks the CA on this host for a token of its own agent: whoever may open that socket may have one."""

    def __init__(self, path: Path, address: str = "") -> None:
        self._path = path
        self._address = address
        self._open: tuple[float, SpiffeId | None, JoinToken, str] | None = None

    async def token(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        if self._open is not None:
            made, of, token, address = self._open
            if of == agent and time.monotonic() - made < _TOKEN_LIFE:
                return token, address
        token, address = await asyncio.to_thread(self._ask, agent)
        self._open = (time.monotonic(), agent, token, address)
        return token, address

    def spent(self, token_id: bytes) -> None:
        self._open = None

    def _ask(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        request = admin_pb2.CreateTokenRequest(local=True, name="local", agent=str(agent) if agent is not None else "")
        with AdminClient(self._path) as client:
            answer = client.call(admin_methods.CREATE_TOKEN, request, _ADMIN_TIMEOUT)
        address = self._address or answer.bootstrap_address
        if not address:
            raise UnavailableError("the CA does not say where its bootstrap port is")
        return parse_join_token(answer.token), address


class NoJoiner:
    """For an agent that was started without a way to get a token: it goes on with the identity that it has."""

    async def token(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        raise NoTokenYet(
            "the agent has no valid identity and was given no join token",
            hint="start it with --join-token-file, with a token from `inborn token create"
            + (f" --agent {agent}`" if agent is not None else "`"),
        )

    def spent(self, token_id: bytes) -> None:
        pass
