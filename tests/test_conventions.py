"""Conventions of CONTRIBUTING.md that a program can check."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ca", "client")
MAX_LINES = 400  # a file that people cite has a hundred; above this one nobody reads it whole
MAX_MODULES = 25  # of one folder: "some twenty"
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}

# Two things with one name, which are to become one thing or two names. Nothing is added here.
STILL = {"DirectoryInUse", "Metrics", "NotAnAgent"}


def modules() -> Iterator[Path]:
    """What people write: nothing generated."""
    for folder in PACKAGES:
        yield from (ROOT / folder).rglob("*.py")


def test_no_module_is_longer_than_people_read() -> None:
    long = {str(path): lines for path in modules() if (lines := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_no_folder_has_more_modules_than_a_reader_keeps_in_mind() -> None:
    count: dict[Path, int] = defaultdict(int)
    for path in modules():
        count[path.parent] += path.name != "__init__.py"
    assert {folder: number for folder, number in count.items() if number > MAX_MODULES} == {}


def test_no_name_of_a_module_says_nothing() -> None:
    assert [path for path in modules() if path.stem in NO_NAMES or path.parent.name in NO_NAMES] == []


# Where the twin is meant: what implements an interface bears its name.
INTERFACE, IMPLEMENTATIONS = "ca/inborn_ca/store/interface", "ca/inborn_ca/store/"


def test_one_public_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[Path]] = defaultdict(list)
    for path in modules():
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(ROOT))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1 and name not in STILL}
    assert {name: paths for name, paths in twice.items() if not is_interface(paths)} == {}


def is_interface(paths: list[Path]) -> bool:
    """Whether one of them is an interface of the store, and the others lie in the store too."""
    interfaces = [path for path in paths if path.as_posix().startswith(INTERFACE)]
    return len(interfaces) == 1 and all(path.as_posix().startswith(IMPLEMENTATIONS) for path in paths)


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in modules() if path.name != "__main__.py" and not ast.get_docstring(parsed(path))]
    assert silent == []


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
