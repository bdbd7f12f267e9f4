"""Control group paths: which container they speak of, and which of them lie in which."""

from __future__ import annotations

import pytest

from inborn_agent.attest.cgroup import CgroupError, container_id, lies_within, parse_cgroups

A = "7cd5" * 16
B = "0a1b" * 16
POD = "kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice"


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{A}",
        f"/system.slice/docker-{A}.scope",
        f"/system.slice/docker-{A}.scope/init.scope",
        f"/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/{A}",
        f"/kubepods.slice/kubepods-burstable.slice/{POD}/cri-containerd-{A}.scope",
        f"/kubepods.slice/{POD}/crio-{A}.scope",
        f"/system.slice/containerd.service/{POD}:cri-containerd:{A}",
        f"/libpod_parent/libpod-{A}",
        f"/machine.slice/libpod-{A}.scope/container",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
        f"/default/{A}",
        f"/../{A}",
        f"/docker/{B}/docker/{A}",
    ],
)
def test_the_innermost_id_is_found(path: str) -> None:
    assert container_id(parse_cgroups(f"0::{path}\n".encode())) == A


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/nginx.service",
        f"/docker/{A[:63]}",
        f"/docker/{A}0",
        f"/docker/{A.upper()}",
        "/process_api/7d39088edb117f85aa6d19b6bc4bcf33",
    ],
)
def test_a_process_of_the_host_has_no_id(path: str) -> None:
    assert container_id(parse_cgroups(f"0::{path}\n".encode())) is None


def test_hierarchies_that_say_nothing_do_not_matter() -> None:
    assert container_id(parse_cgroups(f"12:cpu:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/\n".encode())) == A


def test_hierarchies_that_disagree_are_refused() -> None:
    with pytest.raises(CgroupError, match="2 different containers"):
        container_id(parse_cgroups(f"12:cpu:/docker/{A}\n0::/docker/{B}\n".encode()))


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"0:\n", b"0::docker\n", b"0::/a\nx\n", b"".join(b"%d:c:/\n" % n for n in range(65))]
)
def test_what_the_kernel_never_writes_is_refused(text: bytes) -> None:
    with pytest.raises(CgroupError, match="cannot make out"):
        parse_cgroups(text)


def test_a_path_may_contain_colons_and_odd_characters() -> None:
    assert parse_cgroups("0::/a:b\u2028c\r\n".encode() + b"1:x:/\xff\n") == {"0:": "/a:b\u2028c\r", "1:x": "/\udcff"}


IN_A = {"4:cpu": f"/docker/{A}", "0:": f"/docker/{A}"}


@pytest.mark.parametrize(
    ("groups", "first", "expected"),
    [
        (IN_A, IN_A, True),
        ({"4:cpu": f"/docker/{A}/x", "0:": f"/docker/{A}/x/y"}, IN_A, True),
        (IN_A | {"5:new": "/"}, IN_A, True),
        ({"4:cpu": f"/docker/{A}", "0:": "/"}, {"4:cpu": f"/docker/{A}", "0:": "/"}, True),
        # One hierarchy is enough to be outside.
        ({"4:cpu": "/", "0:": f"/docker/{A}"}, IN_A, False),
        ({"0:": f"/docker/{A}"}, IN_A, False),
        ({"4:cpu": f"/docker/{A}0", "0:": f"/docker/{A}"}, IN_A, False),
        ({"0:": f"/user.slice/docker-{A}.scope"}, {"0:": f"/system.slice/docker-{A}.scope"}, False),
        # Where the engine makes no control groups, they prove nothing.
        ({"0:": "/"}, {"0:": "/"}, False),
        ({"0:": f"/user.slice/{A}"}, {"0:": "/"}, False),
        ({}, {}, False),
        # From within a control group namespace.
        ({"0:": f"/../{A}"}, {"0:": f"/../{A}"}, True),
        ({"0:": f"/../{A}/x"}, {"0:": f"/../{A}"}, True),
        ({"0:": "/../..", "1:": f"/{A}"}, {"0:": "/..", "1:": f"/{A}"}, False),
    ],
)
def test_lying_within_holds_in_every_hierarchy(groups: dict[str, str], first: dict[str, str], expected: bool) -> None:
    assert lies_within(groups, first, A) is expected
