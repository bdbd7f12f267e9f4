"""The declarations of the admin's methods: all of them, as admin.proto has them, and typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.wire import admin_methods
from inborn._internal.wire.admin_methods import METHODS, Effect
from inborn._internal.wire.methods import find_method, rpc_methods
from inborn.errors import InternalError
from inborn_proto import admin_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]

RIGHT = """
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_proto import admin_pb2 as pb

ca = AdminClient()
entry: pb.EntryResponse = ca.call(admin_methods.CREATE_ENTRY, pb.CreateEntryRequest())
"""
WRONG = """
ca.call(admin_methods.CREATE_ENTRY, pb.ListEntriesRequest())
token: pb.Token = ca.call(admin_methods.CREATE_ENTRY, pb.CreateEntryRequest())
ca.call("CreateEntry", pb.CreateEntryRequest())
"""


def test_every_method_of_the_service_is_declared_with_its_own_types() -> None:
    assert sorted(method.name for method in METHODS.values()) == sorted(
        method.name for method in rpc_methods("inborn.admin.v1.Admin")
    )
    for name, method in METHODS.items():
        known = find_method(method.name)
        assert method.name.endswith(f"/{name}")
        assert (method.request, method.response) == (known.request, known.response)


@pytest.mark.parametrize(
    ("name", "request_type", "response_type"),
    [
        ("NoSuch", pb.EntryRequest, pb.EntryResponse),
        ("GetEntry", pb.ListEntriesRequest, pb.EntryResponse),
        ("GetEntry", pb.EntryRequest, pb.ListEntriesResponse),
    ],
)
def test_declaration_that_is_not_the_protos_is_refused(name: str, request_type: type, response_type: type) -> None:
    before = dict(METHODS)
    with pytest.raises(InternalError, match=f"{name} is not declared"):
        admin_methods.declare(name, request_type, response_type, Effect.READS)
    assert before == METHODS


def test_what_is_called_a_list_or_get_reads_and_what_names_a_change_changes() -> None:
    reads = {name for name, method in METHODS.items() if method.effect is Effect.READS}
    assert reads == {name for name in METHODS if name.startswith(("List", "Get"))}


@pytest.mark.parametrize(("program", "errors"), [(RIGHT, 0), (RIGHT + WRONG, 3)], ids=["right", "wrong"])
def test_type_checker_knows_what_each_method_takes_and_gives(program: str, errors: int, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    command = ["-m", "mypy", "--config-file", "pyproject.toml", "--follow-imports", "silent", str(file)]
    ran = subprocess.run(
        [sys.executable, *command, "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    lines = [line for line in ran.stdout.splitlines() if "error:" in line]
    assert len(lines) == errors, ran.stdout + ran.stderr
