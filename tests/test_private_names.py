"""A test asks a thing for what it shows, and reaches into nothing: the thing's own users would be as blind as the test.

What a test cannot see without that, the thing lacks: a parameter, a property, a counter. tests/private_names.txt has
those that are still to be replaced; a line that is used no more fails as a new use does, so that the list can only
shrink.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
STILL = TESTS / "private_names.txt"

# Public by their documentation, whatever their first letter says.
DOCUMENTED = {"_exit", "_replace", "_asdict", "_fields", "_make"}
BY_NAME = {"setattr", "getattr", "hasattr", "delattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def private_names(source: str) -> Iterator[str]:
    """Every private name of something else that the source uses: as an attribute, by import, or in a string."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name) if is_private(name):
                yield name
            case ast.ImportFrom(names=names):
                yield from (alias.name for alias in names if is_private(alias.name) and alias.name != "_internal")
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=arguments) if called in BY_NAME:
                for argument in arguments:
                    match argument:
                        case ast.Constant(value=str(text)) if is_private(text.rpartition(".")[2]):
                            yield text.rpartition(".")[2]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("store._writer.close()", ["_writer"]),
        ("self.store._writer.close()", ["_writer"]),
        ("from inborn_ca.store import _open", ["_open"]),
        ('monkeypatch.setattr(schema, "_MIGRATIONS", ())', ["_MIGRATIONS"]),
        ('monkeypatch.setattr("inborn_ca.store.schema._MIGRATIONS", ())', ["_MIGRATIONS"]),
        ('getattr(store, "_writer")', ["_writer"]),
        ("self._writer = writer", []),
        ("from inborn._internal.wire.frames import FrameReader", []),
        ("store.__class__.__name__", []),
        ("row._replace(seq=1)", []),
    ],
)
def test_what_reaches_into_a_thing_is_seen(source: str, names: list[str]) -> None:
    assert list(private_names(source)) == names


def test_no_test_reaches_into_a_thing() -> None:
    found = {
        f"{path.relative_to(TESTS)} {name}"
        for path in TESTS.rglob("*.py")
        for name in private_names(path.read_text(encoding="utf-8"))
    }
    lines = STILL.read_text(encoding="utf-8").splitlines()
    still = {line for line in lines if line and not line.startswith("#")}
    assert found - still == set(), "give the thing what the test misses"
    assert still - found == set(), "these lines of tests/private_names.txt are used no more: remove them"
