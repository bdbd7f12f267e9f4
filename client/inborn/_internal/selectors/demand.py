"""What a policy of the trust domain demands of every workload under an ID: one fact out of a few, for each demand.

An entry says who a workload is; a policy says how it must be locked in, for all entries under a prefix, so that nobody
forgets it. A demand is met by any one of its selectors. A fact that could not be read is absent, and meets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import MappingProxyType

from inborn._internal.selectors.selector import Selector, parse_selector
from inborn.errors import DeniedError, RequestError

__all__ = ["MAX_ALTERNATIVES", "WORDS", "Demand", "DemandNotMet", "check_demands", "parse_demand", "unmet_demands"]

MAX_ALTERNATIVES = 16  # facts of which one is enough; three is what a readable demand has

WORDS = MappingProxyType(
    {
        "seccomp": "posture:seccomp:filter|posture:seccomp:strict",
        "no-new-privs": "posture:no_new_privs:true",
        "no-capabilities": "posture:cap_eff:none",
        "not-host-userns": "posture:userns:mapped|posture:userns:nested",
        "private-pid": "posture:ns_pid:private",
        "private-net": "posture:ns_net:private",
        "private-mnt": "posture:ns_mnt:private",
        "private-ipc": "posture:ns_ipc:private",
        "read-only-root": "posture:rootfs:ro",
        "no-runtime-socket": "posture:runtime_socket:none",
    }
)
"""Readable words, and what they stand for. `no-CAP_SYS_ADMIN` and its like are words as well."""


class DemandNotMet(DeniedError):
    """A workload lacks what a policy of the trust domain demands; the message names the fact."""


@dataclass(frozen=True, slots=True, order=True)
class Demand:
    """One of these facts. Valid if it exists; `str()` gives them joined by `|`."""

    any_of: tuple[Selector, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.any_of) <= MAX_ALTERNATIVES:
            raise RequestError(f"demand has {len(self.any_of)} selectors, must have 1 to {MAX_ALTERNATIVES}")
        if tuple(sorted(set(self.any_of))) != self.any_of:
            raise RequestError("selectors of a demand must be in order, each once")

    def __str__(self) -> str:
        return "|".join(str(selector) for selector in self.any_of)

    def is_met_by(self, selectors: Collection[Selector]) -> bool:
        return any(selector in selectors for selector in self.any_of)


def parse_demand(text: str) -> Demand:
    """Read a word (`seccomp`, `no-CAP_SYS_ADMIN`) or selectors joined by `|`. Raises `RequestError`."""
    text = text.strip()
    if text.startswith("no-CAP_"):
        text = f"posture:cap_eff_lacks:{text.removeprefix('no-')}"
    text = WORDS.get(text, text)
    if ":" not in text:
        raise RequestError(
            f"{text[:80]!a} is no demand", hint=f"a selector, no-CAP_..., or one of {', '.join(sorted(WORDS))}"
        )
    return Demand(tuple(sorted({parse_selector(part) for part in text.split("|")})))


def unmet_demands(demands: Iterable[Demand], selectors: Collection[Selector]) -> list[Demand]:
    """Those that the facts do not meet, in order."""
    return [demand for demand in demands if not demand.is_met_by(selectors)]


def check_demands(demands: Iterable[Demand], selectors: Collection[Selector], *, who: object) -> None:
    """Raise `DemandNotMet` for the first that is not met."""
    unmet = unmet_demands(demands, selectors)
    if unmet:
        raise DemandNotMet(f"a policy of the trust domain demands {unmet[0]} of {who}, and it was not seen")
