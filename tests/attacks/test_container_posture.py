"""Containers that are less locked in than they look: the same image and labels, and what the kernel says of them."""

from __future__ import annotations

import os
import re

import pytest

from inborn._internal.selectors.kinds.posture import LISTED
from tests.rigs.fixtures_docker import DockerEngine, facts_of_container

pytestmark = [pytest.mark.docker, pytest.mark.root]

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "1000:1000")
LOCKED_IN = {
    "seccomp:filter",
    "no_new_privs:true",
    "cap_eff:none",
    "cap_eff_lacks:CAP_SYS_ADMIN",
    "cap_bnd:none",
    "ns_pid:private",
    "ns_net:private",
    "ns_mnt:private",
    "ns_ipc:private",
    "ns_uts:private",
    "rootfs:ro",
    "runtime_socket:none",
}


async def test_a_hardened_container_has_it_all(docker_engine: DockerEngine, docker_image: str) -> None:
    facts = await facts_of_container(docker_engine, docker_image, *HARDENED)
    assert facts["posture"] >= LOCKED_IN
    assert {"uid:1000", "gid:1000"} <= facts["unix"]


async def test_one_that_is_started_as_engines_do_has_what_they_leave_it(
    docker_engine: DockerEngine, docker_image: str
) -> None:
    found = (await facts_of_container(docker_engine, docker_image))["posture"]
    assert {one for one in found if re.match("cap_eff:", one)} == {
        f"cap_eff:CAP_{name}" for name in ("DAC_OVERRIDE", "SETUID", "NET_RAW", "MKNOD")
    }
    assert {"cap_eff_lacks:CAP_SYS_ADMIN", "seccomp:filter", "rootfs:rw", "userns:host"} <= found


@pytest.mark.parametrize(
    ("options", "lost", "shown"),
    [
        (("--pid", "host"), {"ns_pid:private"}, {"ns_pid:host"}),
        (("--ipc", "host"), {"ns_ipc:private"}, {"ns_ipc:host"}),
        (("--uts", "host"), {"ns_uts:private"}, {"ns_uts:host"}),
        (("--cap-add", "SYS_ADMIN", "--user", "0"), {"cap_eff:none", "cap_eff_lacks:CAP_SYS_ADMIN", "cap_bnd:none"},
         {"cap_eff:CAP_SYS_ADMIN", "cap_bnd_lacks:CAP_NET_ADMIN"}),
        (("--cap-add", "NET_ADMIN"), {"cap_bnd:none"}, {"cap_eff:none", "cap_bnd_lacks:CAP_SYS_ADMIN"}),
        (("--security-opt", "seccomp=unconfined"), {"seccomp:filter"}, {"seccomp:off"}),
    ],
    ids=["pid_host", "ipc_host", "uts_host", "cap_sys_admin", "capability_for_another_user", "seccomp_unconfined"],
)  # fmt: skip
async def test_container_with_one_lock_taken_off(
    docker_engine: DockerEngine, docker_image: str, options: tuple[str, ...], lost: set[str], shown: set[str]
) -> None:
    found = (await facts_of_container(docker_engine, docker_image, *HARDENED, *options))["posture"]
    assert LOCKED_IN - found == lost
    assert shown <= found


@pytest.mark.parametrize("at", ["/var/run/docker.sock", "/harmless"])
async def test_container_with_the_docker_socket_mounted(
    docker_engine: DockerEngine, docker_image: str, at: str
) -> None:
    found = await facts_of_container(docker_engine, docker_image, *HARDENED, "--volume", f"{docker_engine.socket}:{at}")
    assert LOCKED_IN - found["posture"] == {"runtime_socket:none"}
    assert "runtime_socket:visible" in found["posture"]


async def test_container_with_the_directory_of_the_docker_socket_mounted(
    docker_engine: DockerEngine, docker_image: str
) -> None:
    volume = f"{os.path.dirname(docker_engine.socket)}:/mnt"
    assert (
        "runtime_socket:visible"
        in (await facts_of_container(docker_engine, docker_image, "--volume", volume))["posture"]
    )


class TestRemapped:
    async def test_nobody_in_a_container_of_a_remapped_engine_is_the_hosts_root(
        self, remapped_engine: DockerEngine, remapped_image: str
    ) -> None:
        facts = await facts_of_container(remapped_engine, remapped_image)
        assert "userns:mapped" in facts["posture"]
        assert {"uid:100000", "gid:100000"} <= facts["unix"]
        # They count inside alone, and that is what `mapped` beside them says.
        assert "cap_eff:CAP_DAC_OVERRIDE" in facts["posture"]

    async def test_container_with_the_hosts_users_under_a_remapped_engine(
        self, remapped_engine: DockerEngine, remapped_image: str
    ) -> None:
        facts = await facts_of_container(remapped_engine, remapped_image, "--userns", "host")
        assert "userns:host" in facts["posture"]
        assert "uid:0" in facts["unix"]


def test_every_capability_that_escapes_start_with_is_listed() -> None:
    """An entry can say `not CAP_...` of each of those that a container is broken out of with."""
    assert {
        f"CAP_{name}"
        for name in (
            "SYS_ADMIN",
            "SYS_MODULE",
            "SYS_PTRACE",
            "SYS_RAWIO",
            "DAC_READ_SEARCH",
            "MKNOD",
            "BPF",
            "NET_ADMIN",
        )
    } <= LISTED
