"""All workload attestors together: what the agent asks about a process that connects.

A kind of attestor is there because its folder is: nothing lists them, so a new one changes no file but its own.
"""

from __future__ import annotations

import asyncio
import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

import inborn_agent.attest
from inborn._internal.process.pinning import PinnedProcess, ProcessGone
from inborn._internal.selectors.declarations import DECLARATIONS
from inborn.errors import InternalError
from inborn_agent.attest.evidence import NOTHING, Evidence
from inborn_agent.attest.executable import ExecutableId, executable_id
from inborn_agent.attest.host import Host
from inborn_agent.attest.workers import Workers
from inborn_agent.attest.workload_attestor import EngineQuestion, WorkloadAttestor

if TYPE_CHECKING:
    from inborn_agent.attest.container.engine import EngineClient

__all__ = ["WorkloadAttestors", "find_attestors"]

# Reading /proc and hashing an executable once: a few threads serve thousands of callers a second.
KERNEL_THREADS = 8

# For each kind that asks an engine, of its own: one that hangs holds up nobody but the callers that it is asked about.
ENGINE_THREADS = 4


def find_attestors() -> dict[str, WorkloadAttestor]:
    """Find each kind of attestor by its folder, in the order in which they are asked.

    Raises `InternalError` for a folder that is no attestor, and for one whose selectors the library does not declare.
    """
    found: dict[str, WorkloadAttestor] = {}
    for module in pkgutil.iter_modules(inborn_agent.attest.__path__):
        if not module.ispkg:
            continue
        attestor = getattr(import_module(f"inborn_agent.attest.{module.name}.attestor"), "ATTESTOR", None)
        if not isinstance(attestor, WorkloadAttestor):
            raise InternalError(f"inborn_agent.attest.{module.name} is no workload attestor")
        if module.name not in DECLARATIONS:
            raise InternalError(f"the library declares no selectors of the workload attestor {module.name}")
        found[module.name] = attestor
    return dict(sorted(found.items(), key=lambda item: (item[1].reads_executable, item[0])))


class WorkloadAttestors:
    """Gives the evidence about pinned processes. `engines` are those of containers, none where there are none.

    `proc` is where the host's procfs is mounted.
    """

    def __init__(self, *, engines: Sequence[EngineClient] = (), proc: str = "/proc") -> None:
        self._host = Host(proc=proc, engines=engines)
        self._attestors: Mapping[str, WorkloadAttestor] = MappingProxyType(find_attestors())
        self._kernel = Workers("attest-kernel", KERNEL_THREADS)
        self._engines = {kind: Workers(f"attest-{kind}", ENGINE_THREADS) for kind in self._attestors}

    async def attest(self, process: PinnedProcess) -> Evidence:
        """Read all facts of `process`, which is alive before and after, so that they are facts of that process.

        Raises `ProcessGone`, and `IdentityChanged` if it no longer runs as the user it connected as. There is no
        deadline in here; give one, a thread that hangs is left behind.
        """
        _require_alive(process)
        evidence, questions = await self._kernel.run(process.uid, self._read, process)
        if questions:
            asked = [self._engines[kind].run(process.uid, question) for kind, question in questions.items()]
            for answer in await asyncio.gather(*asked):
                evidence = evidence.joined_with(answer)
        _require_alive(process)
        return evidence

    async def executable_id(self, process: PinnedProcess) -> ExecutableId | None:
        """Say which file `process` runs, None if that cannot be read. In a thread: its file system may hang."""
        return await self._kernel.run(process.uid, executable_id, process)

    def close(self) -> None:
        """Take no more work. Does not wait for threads that hang."""
        self._kernel.close()
        for workers in self._engines.values():
            workers.close()

    def _read(self, process: PinnedProcess) -> tuple[Evidence, dict[str, EngineQuestion]]:
        evidence = NOTHING
        questions: dict[str, EngineQuestion] = {}
        for kind, attestor in self._attestors.items():
            found = attestor.attest(process, self._host)
            if isinstance(found, Evidence):
                evidence = evidence.joined_with(found)
            else:
                questions[kind] = found
        return evidence, questions


def _require_alive(process: PinnedProcess) -> None:
    if not process.is_alive():
        raise ProcessGone(f"process {process.pid} ended before it was attested")
