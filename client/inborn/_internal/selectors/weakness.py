"""What an entry's selectors do not prove, in words for whoever made it (pure).

An entry may be as weak as its admin likes; these are told when it is made, and by `inborn doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from inborn._internal.selectors.posture import is_known
from inborn._internal.selectors.selector import Selector, TrustClass, has_party_boundary, trust_class

__all__ = ["ATTESTED_TYPES", "weaknesses"]

ATTESTED_TYPES = frozenset({"unix", "docker", "rootless", "systemd", "posture"})
"""Types of selectors that an agent produces."""

_NUMBERS = re.compile("(uid|gid|supplementary_gid):")
_NUMBER = re.compile("[a-z_]+:(0|[1-9][0-9]*)")


def weaknesses(selectors: Collection[Selector], *, is_any_node: bool) -> list[str]:
    """What an admin should know of an entry with these selectors, one line each; none is fine."""
    found = []
    for selector in sorted(selectors):
        if selector.type not in ATTESTED_TYPES:
            found.append(f"no process ever matches: no agent produces selectors of type {selector.type}")
        elif selector.type == "unix" and _NUMBERS.match(selector.value) and not _NUMBER.fullmatch(selector.value):
            found.append(f"no process ever matches: {selector} has no number")
        elif not is_known(selector):
            found.append(f"no process ever matches: {selector} is not what an agent says of posture")
    if all(selector.type == "posture" for selector in selectors):
        found.append(
            "rests on posture alone: any process that locks itself in like that has this identity; "
            "add a uid, a group, a unit or an image digest"
        )
    elif all(trust_class(selector) is TrustClass.STARTER for selector in selectors):
        found.append(
            "rests only on what whoever started the workload says of it: whoever may start one has this identity"
        )
    elif not has_party_boundary(selectors):
        found.append(
            "tells programs apart, not parties: any process of the node that runs such a program has this identity; "
            "add a uid, a group or a unit"
        )
    if is_any_node:
        found.append("counts on any node: each agent that is enrolled can have this identity")
    return found
