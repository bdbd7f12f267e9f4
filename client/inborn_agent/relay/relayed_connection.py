"""A relayed connection: the process behind it and what is known of it."""

from __future__ import annotations

import asyncio

from inborn._internal.process.pinning import IdentityChanged, PinnedProcess
from inborn.errors import DeniedError
from inborn_agent.attest import Evidence, WorkloadAttestors
from inborn_agent.attest.executable import ExecutableId

__all__ = ["RelayedConnection"]


class RelayedConnection:
    """One connection of one pinned process, which has proven to be there.

    `name` is what gRPC gives as `context.peer()`. `executable` is what the process ran when it proved so. `closed` is
    set when the connection has ended.
    """

    def __init__(self, process: PinnedProcess, executable: ExecutableId | None, attestor: WorkloadAttestors) -> None:
        self.name = ""
        self.process = process
        self.executable = executable
        self.closed = asyncio.Event()
        self.closing = asyncio.Event()
        self._attestor = attestor
        self._evidence: Evidence | None = None

    def __repr__(self) -> str:
        return f"RelayedConnection({self.name!r}, {self.process!r})"

    @property
    def evidence(self) -> Evidence:
        """What the latest attestation found."""
        if self._evidence is None:
            raise DeniedError("the connection has not been attested yet")
        return self._evidence

    def is_alive(self) -> bool:
        """Tell whether the connection stands and its process lives."""
        return not self.closing.is_set() and not self.closed.is_set() and self.process.is_alive()

    def close(self) -> None:
        """End the connection soon; `closed` says when it has ended."""
        self.closing.set()

    async def attest_again(self) -> Evidence:
        """Attest the process as it is now. What fails ends the connection.

        Raises `IdentityChanged` if it has become another program or user since it proved to be there: whoever holds
        the connection then is not the one that was asked. Raises `ProcessGone`.
        """
        try:
            evidence = await self._attestor.attest(self.process)
            if evidence.executable != self.executable:
                raise IdentityChanged(f"process {self.process.pid} has become another program since it connected")
        except DeniedError:
            self.close()
            raise
        self._evidence = evidence
        return evidence
