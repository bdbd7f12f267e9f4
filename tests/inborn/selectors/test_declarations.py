"""What kinds of workload attestors declare: whole, and each type once."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.declarations import DECLARATIONS, SELECTOR_TYPES, declared_key, types_of
from inborn._internal.selectors.selector import parse_selector
from inborn.errors import InternalError


def test_kinds_are_found_in_their_folder() -> None:
    assert set(DECLARATIONS) >= {"container", "posture", "systemd", "unix"}
    assert set(SELECTOR_TYPES) >= {"docker", "posture", "rootless", "systemd", "unix"}


def test_each_key_is_declared_once_and_documented() -> None:
    for declaration in DECLARATIONS.values():
        assert declaration.about
        assert declaration.types
        for type_ in declaration.types:
            assert len({key.name for key in type_.keys}) == len(type_.keys) > 0
            for key in type_.keys:
                assert key.says, key
                assert key.forger, key
                fact = parse_selector(f"{type_.name}:{key.name}:{key.example}")
                assert declared_key(fact) is key
                assert key.may_be(key.example), f"no process can have the example {fact}"


def test_a_key_that_spire_alone_has_is_not_one_of_ours() -> None:
    for type_ in SELECTOR_TYPES.values():
        assert not type_.spire_keys & {key.name for key in type_.keys}


def test_two_kinds_that_declare_one_type_are_refused() -> None:
    # Otherwise the later one would say whose word the selectors of the other are.
    with pytest.raises(InternalError, match="type unix are declared twice"):
        types_of([DECLARATIONS["unix"], DECLARATIONS["unix"]])
