"""Reading the selectors that an admin writes into a registration entry (pure).

`parse_selector` takes whatever has the form of a selector: what an agent of another version reports, what stands in an
old row. An entry is written now, by somebody who can be told.
"""

from __future__ import annotations

from inborn._internal.selectors.declarations import SELECTOR_TYPES, key_and_value
from inborn._internal.selectors.selector import Selector, SelectorError, parse_selector

__all__ = ["UnknownSelector", "parse_entry_selector"]


class UnknownSelector(SelectorError):
    """Selectors of this type have no such key, here or in SPIRE; the message names those that they have."""


def parse_entry_selector(text: str) -> Selector:
    """Read `type:key:value`. Raises `SelectorError`, and `UnknownSelector` where the type is known and the key is not.

    A key that SPIRE has for the type is taken, and so is a type that nobody here knows: `weaknesses` says that no
    process has them. Not checked: that a process can have the value.
    """
    selector = parse_selector(text)
    type_ = SELECTOR_TYPES.get(selector.type)
    if type_ is None:
        return selector
    name, _ = key_and_value(selector)
    if type_.key(name) is None and name not in type_.spire_keys:
        known = ", ".join(key.name for key in type_.keys)
        raise UnknownSelector(
            f"selectors of type {type_.name} have no key {name[:64]!a}, they have {known}",
            hint=f"as in {type_.name}:{type_.keys[0].name}:{type_.keys[0].example}",
        )
    return selector
