"""What an entry's selectors do not prove, in words for whoever made it (pure).

An entry may be as weak as its admin likes; these are told when it is made, and by `inborn doctor`.
"""

from __future__ import annotations

from collections.abc import Collection

from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.declarations import SELECTOR_TYPES, key_and_value
from inborn._internal.selectors.selector import Selector
from inborn._internal.selectors.trust import has_party_boundary, trust_class

__all__ = ["weaknesses", "why_never_attested"]


def why_never_attested(selector: Selector) -> str | None:
    """Say why no process ever has this selector; None: one may."""
    type_ = SELECTOR_TYPES.get(selector.type)
    if type_ is None:
        return f"no agent produces selectors of type {selector.type}"
    name, value = key_and_value(selector)
    key = type_.key(name)
    if key is None:
        return f"no agent produces {selector.type}:{name}"
    if not value:
        return f"{selector} has no value"
    return None if key.may_be(value) else f"{selector} {key.otherwise}"


def weaknesses(selectors: Collection[Selector], *, is_any_node: bool) -> list[str]:
    """What an admin should know of an entry with these selectors, one line each; none is fine."""
    never = (why_never_attested(selector) for selector in sorted(selectors))
    found = [f"no process ever matches: {reason}" for reason in never if reason is not None]
    if (alone := _alone(selectors)) is not None:
        found.append(alone)
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


def _alone(selectors: Collection[Selector]) -> str | None:
    """What a type declares of entries that rest on it alone."""
    types = {selector.type for selector in selectors}
    type_ = SELECTOR_TYPES.get(types.pop()) if len(types) == 1 else None
    return type_.alone or None if type_ is not None else None
