"""Control groups as engines, Kubernetes and systemd make them, on cgroup v1, v2 and both: container and unit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inborn_agent.attest.cgroup import container_id, lies_within, parse_cgroups
from inborn_agent.attest.systemd.attestor import unit_of

SHAPES = json.loads((Path(__file__).parents[2] / "vectors" / "cgroups.json").read_text())


def test_there_are_116_shapes() -> None:
    assert len(SHAPES) == 116


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["name"])
def test_a_shape_tells_its_container_and_its_unit(shape: dict[str, Any]) -> None:
    groups = parse_cgroups(shape["process"].encode())
    assert container_id(groups) == shape["container"]
    assert unit_of(groups) == shape["unit"]


@pytest.mark.parametrize("shape", [s for s in SHAPES if s["first"]], ids=lambda shape: shape["name"])
def test_a_process_counts_as_the_containers_only_inside_its_first_process_groups(shape: dict[str, Any]) -> None:
    groups, first = (parse_cgroups(shape[name].encode()) for name in ("process", "first"))
    assert lies_within(groups, first, shape["container"]) is shape["within"]


@pytest.mark.parametrize("shape", [s for s in SHAPES if s["within"]], ids=lambda shape: shape["name"])
def test_a_process_outside_in_one_hierarchy_is_outside(shape: dict[str, Any]) -> None:
    groups, first = (parse_cgroups(shape[name].encode()) for name in ("process", "first"))
    for hierarchy, path in first.items():
        if path != "/":
            assert not lies_within(groups | {hierarchy: path.rpartition("/")[0] or "/"}, first, shape["container"])
