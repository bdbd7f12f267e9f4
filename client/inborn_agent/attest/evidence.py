"""What attestation found out about one process: its selectors, and hints about what could not be read."""

from __future__ import annotations

from dataclasses import dataclass

from inborn._internal.selectors.declaration import SelectorType
from inborn._internal.selectors.selector import Selector, SelectorError, parse_selector
from inborn.errors import InternalError
from inborn_agent.attest.executable import ExecutableId

__all__ = ["NOTHING", "Evidence", "EvidenceBuilder"]

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


NOTHING = Evidence(selectors=frozenset())
"""An attestor does not apply to the process."""


class EvidenceBuilder:
    """Collects facts of one selector type, of keys that it declares. A value that is no selector becomes a hint."""

    def __init__(self, type_: SelectorType) -> None:
        self._type = type_.name
        self._keys = frozenset(key.name for key in type_.keys)
        self._selectors: set[Selector] = set()
        self._hints: list[str] = []
        self.executable: ExecutableId | None = None

    def add(self, key: str, value: str | int) -> None:
        """Add the fact `type:key:value`. Raises `InternalError` for a key that the type does not declare."""
        if key not in self._keys:
            raise InternalError(f"the workload attestor gives {self._type}:{key}, which it does not declare")
        try:
            selector = parse_selector(f"{self._type}:{key}:{value}")
        except SelectorError as error:
            self.hint(f"{self._type}:{key} left out: {error.message}")
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
