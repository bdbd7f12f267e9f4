"""The join token that a program gives to `inborn.enroll`: itself, or the file that holds it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn.errors import RequestError
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.node_attestors.node_evidence import NodeEvidence
from inborn_member.way_in import NoEvidence

__all__ = ["GivenToken"]

_MAX_TOKEN_FILE = 4096  # bytes: a token has some 130, and somebody may have put a comment's worth of blanks around it


class GivenToken:
    """The `EvidenceSupply` of a daemon. A file is read each time that a token is needed: there may be another in it."""

    def __init__(self, token: JoinToken | str | None, file: str | Path | None, address: str) -> None:
        """Raises `RequestError` for a text that is no token."""
        self._token = parse_join_token(token) if isinstance(token, str) else token
        self._file = Path(file) if file is not None else None
        self._spent: set[bytes] = set()
        self.address = address

    def read(self) -> JoinToken | None:
        """The token, spent or not. A file that is gone after the first start is as good as none. Blocks; raises
        `RequestError` for one that cannot be read or holds something else."""
        if self._file is None:
            return self._token
        try:
            with open(self._file, encoding="ascii", errors="replace") as file:
                text = file.read(_MAX_TOKEN_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise RequestError(f"cannot read the join token's file {self._file}: {e.strerror}") from e
        if len(text) > _MAX_TOKEN_FILE:
            raise RequestError(f"the join token's file {self._file} is larger than {_MAX_TOKEN_FILE} bytes")
        return parse_join_token(text)

    async def evidence(self, former: SpiffeId | None, /) -> tuple[NodeEvidence, str]:
        token = await asyncio.to_thread(self.read)
        if token is None or token.id in self._spent:
            raise NoEvidence(
                "there is no join token" if token is None else "the join token has been used or was refused",
                hint=f"an admin makes a new one with `inborn token create --id {former or 'spiffe://...'}`",
            )
        return TokenEvidence(token), self.address

    def spent(self, evidence_id: bytes, /) -> None:
        self._spent.add(evidence_id)
