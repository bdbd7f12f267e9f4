"""The contracts on imports bite: each is broken here once for everything that it forbids.

A contract that names the wrong folder, or whose list has run empty, is kept by every program; nothing but an offence
shows it. So each offence is added to the graph of the program as it is, alone, and its contract has to be broken by
it. What the design promises is listed by hand besides, so that a contract cannot go quietly with its promise.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from copy import deepcopy
from functools import cache
from pathlib import Path

import grimp
import importlinter.api
import pytest
from importlinter.application.use_cases import read_user_options
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / ".importlinter"
SOURCES = ("ca", "client", "proto")
TYPES = {"forbidden": ForbiddenContract, "independence": IndependenceContract, "layers": LayersContract}

# What a program may import of the library by name, as its pages say.
PUBLIC_MODULES = {"__init__.py", "errors.py", "py.typed", "requests_adapter.py", "testing.py", "uvicorn_adapter.py"}

# Folder, and what nothing in it may import: the promises of docs/explanation/architecture.md.
PROMISES = (
    ("inborn_ca.front", "inborn_ca.authorities"),
    ("inborn_ca.front", "inborn_ca.store"),
    ("inborn_ca.front", "inborn_ca.certificates"),
    ("inborn_ca.front", "inborn_ca.signer"),
    ("inborn_ca.signer", "grpc"),
    ("inborn_ca.signer", "ssl"),
    ("inborn_ca.signer", "http"),
    ("inborn_ca.signer", "inborn_ca.front"),
    ("inborn_ca.signer", "sqlite3"),
    ("inborn_ca.store.sqlite", "inborn_ca.signer"),
    ("inborn_ca.store.sqlite", "inborn_ca.front"),
    ("inborn_ca.supervisor", "cryptography"),
    ("inborn_ca.model", "sqlite3"),
    ("inborn_ca.certificates", "socket"),
    ("inborn_agent.cache", "asyncio"),
    ("inborn._internal.verification", "ssl"),
    ("inborn._internal.revocation", "threading"),
    ("inborn._internal.wire", "grpc"),
    ("inborn", "inborn_agent"),
    ("inborn", "inborn_member"),
    ("inborn.testing", "inborn._internal.process.pinning"),
    ("inborn._internal.source", "inborn._internal.http"),
    ("inborn_member", "inborn_agent"),
    ("inborn_agent", "inborn_ca"),
    ("inborn_ca", "inborn_agent"),
    ("inborn_cli", "inborn_ca"),
)


@cache
def configuration() -> dict[str, dict[str, str | list[str]]]:
    """The contracts of .importlinter by their short names."""
    options = importlinter.api.read_configuration(str(CONFIGURATION))
    return {contract["id"]: contract for contract in options["contracts_options"]}


@cache
def program() -> grimp.ImportGraph:
    """Who imports whom in the program as it is."""
    session = read_user_options(str(CONFIGURATION)).session_options
    return grimp.build_graph(
        *session["root_packages"], include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def contract(name: str) -> Contract:
    options = configuration()[name]
    return TYPES[str(options["type"])](
        name=options["name"],
        session_options=read_user_options(str(CONFIGURATION)).session_options,
        contract_options=options,
    )


def is_kept(name: str, *offence: str) -> bool:
    """Whether the contract is kept by the program, or by one with an offence: who imports, and what."""
    graph = deepcopy(program())
    if offence:
        importer, imported = (inmost(module) for module in offence)
        if imported not in graph.modules:  # a library that nothing of ours imports
            graph.add_module(imported, is_squashed=True)
        graph.add_import(importer=importer, imported=imported)
    with contextlib.redirect_stdout(io.StringIO()):
        return contract(name).check(graph, verbose=False).kept


def inmost(folder: str) -> str:
    """A module that lies as deep in the folder as any: the wall has to hold for that one too."""
    graph = program()
    if folder not in graph.modules or graph.is_module_squashed(folder):
        return folder
    return max(sorted(graph.find_descendants(folder) | {folder}), key=lambda module: module.count("."))


def modules_of(expressions: str | list[str]) -> list[str]:
    """What stands there, and what matches a pattern with stars."""
    named = [expression for expression in expressions if "*" not in expression]
    for expression in set(expressions) - set(named):
        matching = sorted(program().find_matching_modules(expression))
        assert matching, f"{expression} matches nothing"
        named += matching
    return named


def offences(name: str) -> Iterator[tuple[str, str]]:
    """Every import that the contract forbids, folder by folder."""
    options = configuration()[name]
    match options["type"]:
        case "forbidden":
            yield from itertools.product(modules_of(options["source_modules"]), options["forbidden_modules"])
        case "independence":
            yield from itertools.permutations(modules_of(options["modules"]), 2)
        case "layers":
            (container,) = options["containers"]
            layers = [[f"{container}.{room}" for room in rooms(layer)] for layer in options["layers"]]
            for number, layer in enumerate(layers):
                yield from itertools.product(layer, itertools.chain.from_iterable(layers[:number]))
                if "|" in options["layers"][number]:
                    yield from itertools.permutations(layer, 2)


def rooms(layer: str) -> list[str]:
    return [room.strip() for room in layer.replace("|", ":").split(":")]


@pytest.mark.parametrize("name", configuration())
def test_a_contract_is_broken_by_everything_that_it_forbids(name: str) -> None:
    assert is_kept(name)
    tried = list(offences(name))
    assert len(tried) > 1
    assert [offence for offence in tried if is_kept(name, *offence)] == []


@pytest.mark.parametrize(("folder", "imported"), PROMISES)
def test_what_the_design_promises_is_in_some_contract(folder: str, imported: str) -> None:
    assert any(not is_kept(name, folder, imported) for name in configuration())


def test_the_command_that_checks_contracts_fails_at_each_broken_one(tmp_path: Path) -> None:
    """The whole way, from an import in a file to the exit status that stops CI."""
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CONFIGURATION, tmp_path)
    for name in configuration():
        importer, imported = (inmost(module) for module in next(offences(name)))
        with source_of(tmp_path, importer).open("a") as file:
            file.write(f"\nimport {imported}\n")

    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(SOURCES), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert [line for line in checked.stdout.splitlines() if line.endswith(" KEPT")] == []
    assert f"0 kept, {len(configuration())} broken" in checked.stdout


def source_of(root: Path, module: str) -> Path:
    for folder in SOURCES:
        path = root / folder / module.replace(".", "/")
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.exists():
                return candidate
    raise LookupError(module)


def test_every_room_stands_in_a_contract_of_rooms() -> None:
    """A folder that somebody adds is behind no wall before it has a place among the others."""
    placed = {
        f"{container}.{room}"
        for options in configuration().values()
        if options["type"] == "layers"
        for container in options["containers"]
        for layer in options["layers"]
        for room in rooms(layer)
    }
    whole = {"inborn", "inborn_member", "inborn_proto"}  # each one room, with a contract of its own

    assert {room for room in folders() if room not in placed} == whole | {
        "inborn._internal",  # its rooms are placed
        *("inborn_agent", "inborn_ca", "inborn_cli"),  # so are theirs
        *("inborn_member.node_attestors", "inborn_ca.signer.commands.node_attestors"),
        *(room for room in folders() if room.rpartition(".")[0] in placed),  # a room in a room
    }


def folders() -> set[str]:
    """Every package of the sources, by its name."""
    return {
        ".".join(path.parent.relative_to(ROOT / folder).parts)
        for folder in SOURCES
        for path in (ROOT / folder).rglob("__init__.py")
    }


def test_no_contract_of_rooms_leaves_a_new_room_out() -> None:
    parser = ConfigParser()
    parser.read(CONFIGURATION)
    layers = [section for section in parser.sections() if parser.get(section, "type", fallback="") == "layers"]
    assert layers
    assert all(parser.getboolean(section, "exhaustive", fallback=False) for section in layers)


def test_the_library_shows_its_public_modules_and_nothing_else() -> None:
    shown = {path.name for path in (ROOT / "client/inborn").iterdir() if path.name != "__pycache__"}
    assert shown == PUBLIC_MODULES | {"_internal"}
