"""What attestation found out about one process: its selectors, and hints about what could not be read."""

from __future__ import annotations

from dataclasses import dataclass

from inborn._internal.selectors.selector import Selector, SelectorError, parse_selector
from inborn_agent.attest.executable import ExecutableId

__all__ = ["Evidence", "EvidenceBuilder"]

# Labels and environment of a container are as many as its starter likes; each selector is stored with every
# certificate. No real container has come near.
MAX_SELECTORS = 512

# Hints are for a log line and for `inborn why`.
MAX_HINTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Facts of one process at one moment. What could not be read is absent and has a hint; nothing is guessed.

    `executable` is the file whose path and digest are among the selectors, None if it could not be read.
    """

    selectors: frozenset[Selector]
    hints: tuple[str, ...] = ()
    executable: ExecutableId | None = None

    def joined_with(self, other: Evidence) -> Evidence:
        """Both together."""
        return Evidence(
            selectors=self.selectors | other.selectors,
            hints=(self.hints + other.hints)[:MAX_HINTS],
            executable=self.executable or other.executable,
        )


class EvidenceBuilder:
    """Collects facts of one selector type. A value that is no selector becomes a hint and not an error."""

    def __init__(self, type_: str) -> None:
        self._type = type_
        self._selectors: set[Selector] = set()
        self._hints: list[str] = []
        self.executable: ExecutableId | None = None

    def add(self, kind: str, value: str | int) -> None:
        """Add the fact `type:kind:value`."""
        try:
            selector = parse_selector(f"{self._type}:{kind}:{value}")
        except SelectorError as error:
            self.hint(f"{self._type}:{kind} left out: {error.message}")
            return
        if len(self._selectors) < MAX_SELECTORS:
            self._selectors.add(selector)
        elif selector not in self._selectors:
            self.hint(f"more than {MAX_SELECTORS} {self._type} selectors, the rest is left out")

    def hint(self, text: str) -> None:
        """Say what is absent and why."""
        if len(self._hints) < MAX_HINTS and text not in self._hints:
            self._hints.append(text)

    def evidence(self) -> Evidence:
        """What has been collected so far."""
        return Evidence(selectors=frozenset(self._selectors), hints=tuple(self._hints), executable=self.executable)
