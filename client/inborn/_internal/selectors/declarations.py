"""All that is declared of selectors: one module of `kinds` for each kind of workload attestor (pure).

A kind is there because its module is: nothing lists them, so a new one changes no file but its own. They are loaded
with this module and not when they are first asked for, so that a fault among them shows at the start.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType

from inborn._internal.selectors import kinds
from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType
from inborn._internal.selectors.selector import Selector
from inborn.errors import InternalError

__all__ = ["DECLARATIONS", "SELECTOR_TYPES", "declared_key", "key_and_value", "types_of"]


def _load() -> dict[str, AttestorDeclaration]:
    found: dict[str, AttestorDeclaration] = {}
    for kind in sorted(module.name for module in pkgutil.iter_modules(kinds.__path__)):
        declaration = getattr(import_module(f"{kinds.__name__}.{kind}"), "DECLARATION", None)
        if not isinstance(declaration, AttestorDeclaration) or declaration.kind != kind:
            raise InternalError(f"{kinds.__name__}.{kind} declares no workload attestor of that name")
        found[kind] = declaration
    return found


def types_of(declarations: Iterable[AttestorDeclaration]) -> dict[str, SelectorType]:
    """Every type that is declared, by its name. Raises `InternalError` if two kinds declare the same one."""
    types: dict[str, SelectorType] = {}
    for declaration in declarations:
        for type_ in declaration.types:
            if type_.name in types:
                raise InternalError(f"selectors of type {type_.name} are declared twice")
            types[type_.name] = type_
    return types


DECLARATIONS: Mapping[str, AttestorDeclaration] = MappingProxyType(_load())
"""What each kind of workload attestor declares, by the name of the kind."""

SELECTOR_TYPES: Mapping[str, SelectorType] = MappingProxyType(types_of(DECLARATIONS.values()))
"""Every type of selector that an agent produces, by its name."""


def key_and_value(selector: Selector) -> tuple[str, str]:
    """`uid` and `1000` of `unix:uid:1000`. The value is empty where there is no second colon."""
    key, _, value = selector.value.partition(":")
    return key, value


def declared_key(selector: Selector) -> SelectorKey | None:
    """What is declared of the fact that `selector` states; None: no agent produces such a selector."""
    type_ = SELECTOR_TYPES.get(selector.type)
    return None if type_ is None else type_.key(key_and_value(selector)[0])
