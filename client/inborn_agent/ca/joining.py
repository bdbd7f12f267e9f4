"""Where an agent that has to enroll gets its evidence from: a join token in a file (or on standard input), or of the CA
on the same host; or a certificate of another CA, with its key."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.wire import admin_methods
from inborn.errors import RequestError, UnavailableError
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.node_attestors.node_evidence import NodeEvidence
from inborn_member.node_attestors.x509pop import CertificateFiles
from inborn_member.way_in import NoEvidence
from inborn_proto import admin_pb2

__all__ = ["AdminJoiner", "CertificateJoiner", "NoJoiner", "TokenFileJoiner"]

_MAX_TOKEN_FILE = 4096  # bytes: a token has some 130, and somebody may have put a comment's worth of blanks around it
_TOKEN_LIFE = 60.0  # seconds that a token is tried again before a new one is made; the CA's own limit is ten minutes
_ADMIN_TIMEOUT = 10.0  # seconds for one call over the signer's socket


class TokenFileJoiner:
    """Reads the token from a file each time that it is needed; `-` is standard input, read once."""

    def __init__(self, path: str, address: str, *, read_stdin: Callable[[], str] | None = None) -> None:
        self._path = path
        self._address = address
        self._read_stdin = read_stdin or (lambda: sys.stdin.read(_MAX_TOKEN_FILE + 1))
        self._from_stdin: str | None = None
        self._spent: set[bytes] = set()

    async def evidence(self, agent: SpiffeId | None) -> tuple[NodeEvidence, str]:
        token = parse_join_token(await asyncio.to_thread(self._text))
        if token.id in self._spent:
            raise NoEvidence(
                f"the token in {self._path} has been used or was refused",
                hint="an admin makes a new one with `inborn token create"
                + (f" --agent {agent}`" if agent is not None else "`"),
            )
        return TokenEvidence(token), self._address

    def spent(self, evidence_id: bytes) -> None:
        self._spent.add(evidence_id)

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
                raise NoEvidence(
                    f"token file {self._path} cannot be read: {error.strerror}",
                    hint="an admin makes a token with `inborn token create`",
                ) from error
        if len(text) > _MAX_TOKEN_FILE:
            raise RequestError(f"token file {self._path} is larger than {_MAX_TOKEN_FILE} bytes")
        return text


class AdminJoiner:
    """Asks the CA on this host for a token of its own agent: whoever may open that socket may have one."""

    def __init__(self, path: Path, address: str = "") -> None:
        self._path = path
        self._address = address
        self._open: tuple[float, SpiffeId | None, JoinToken, str] | None = None

    async def evidence(self, agent: SpiffeId | None) -> tuple[NodeEvidence, str]:
        if self._open is not None:
            made, of, token, address = self._open
            if of == agent and time.monotonic() - made < _TOKEN_LIFE:
                return TokenEvidence(token), address
        token, address = await asyncio.to_thread(self._ask, agent)
        self._open = (time.monotonic(), agent, token, address)
        return TokenEvidence(token), address

    def spent(self, evidence_id: bytes) -> None:
        self._open = None

    def _ask(self, agent: SpiffeId | None) -> tuple[JoinToken, str]:
        request = admin_pb2.CreateTokenRequest(local=True, name="local", agent=str(agent) if agent is not None else "")
        with AdminClient(self._path) as client:
            answer = client.call(admin_methods.CREATE_TOKEN, request, _ADMIN_TIMEOUT)
        address = self._address or answer.bootstrap_address
        if not address:
            raise UnavailableError("the CA does not say where its bootstrap port is")
        return parse_join_token(answer.token), address


class CertificateJoiner:
    """Reads a certificate of another CA, and its key, each time that they are needed. They are good again and again."""

    def __init__(self, files: CertificateFiles, address: str) -> None:
        self._files = files
        self._address = address

    async def evidence(self, agent: SpiffeId | None) -> tuple[NodeEvidence, str]:
        return await asyncio.to_thread(self._files.read), self._address

    def spent(self, evidence_id: bytes) -> None:
        """Nothing is: the CA says each time what it thinks of the certificate."""


class NoJoiner:
    """For an agent that was started without any evidence: it goes on with the identity that it has."""

    async def evidence(self, agent: SpiffeId | None) -> tuple[NodeEvidence, str]:
        raise NoEvidence(
            "the agent has no valid identity and was given nothing to enroll with",
            hint="start it with --join-token-file, with a token from `inborn token create"
            + (f" --agent {agent}`" if agent is not None else "`"),
        )

    def spent(self, evidence_id: bytes) -> None:
        pass
