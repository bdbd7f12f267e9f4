"""The protocol of a kind of workload attestor. Each kind is a folder of this one; its module `attestor` has `ATTESTOR`.

What its selectors say, and whose word they are, is declared under the folder's name in the library, in
`selectors/kinds`: the CA and the command have to know it too, and may not import the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from inborn._internal.process.pinning import PinnedProcess
from inborn_agent.attest.evidence import Evidence
from inborn_agent.attest.host import Host

__all__ = ["EngineQuestion", "WorkloadAttestor"]

EngineQuestion = Callable[[], Evidence]
"""Evidence that takes asking somebody who may hang: a container engine. It runs among workers of its kind's own."""


@runtime_checkable
class WorkloadAttestor(Protocol):
    """Gives the evidence of its own selector types about one process. It keeps nothing of one for another."""

    @property
    def reads_executable(self) -> bool:
        """Whether its evidence names the executable. Facts that were read before that one are known to be of the
        program that the executable is, because whoever was given the evidence compares it; so this kind comes last.
        """
        ...

    def attest(self, process: PinnedProcess, host: Host) -> Evidence | EngineQuestion:
        """Read its facts of `process`, which is alive before and will be looked at after.

        It runs among the workers that read the kernel: nothing here may ask another process. What must be asked is a
        question, which is returned, and then put by other workers. `NOTHING` says that the kind does not apply to this
        process; the engines are not bothered with it. A fact that cannot be read is absent, with a hint. Raises
        `ProcessGone`, and `IdentityChanged` if the process no longer runs as the user it was pinned as.
        """
        ...
