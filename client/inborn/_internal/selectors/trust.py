"""What a selector proves: whose word it is, and whether it tells parties apart (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.declarations import declared_key
from inborn._internal.selectors.selector import Selector

__all__ = ["has_party_boundary", "trust_class"]


def trust_class(selector: Selector) -> TrustClass:
    """Say whose word `selector` is. What nobody declares counts as the weakest."""
    key = declared_key(selector)
    return TrustClass.STARTER if key is None else key.trust


def has_party_boundary(selectors: Iterable[Selector]) -> bool:
    """Tell whether one of `selectors` is a fact that another user of the machine cannot have.

    A set without one tells programs apart, or repeats the words of whoever started the container; it does not tell
    parties apart. One uid is a single party: processes of one user can trace each other and hand over their keys.
    Posture is not such a fact: every process may lock itself in.
    """
    return any((key := declared_key(selector)) is not None and key.is_party_fact for selector in selectors)
