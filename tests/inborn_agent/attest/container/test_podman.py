"""Attesting containers of a real Podman: the same facts as Docker's, by the same rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import EngineClient, WorkloadAttestors
from inborn_agent.attest.cgroup import container_id
from inborn_agent.attest.container.attestor import attest_container
from inborn_agent.attest.process_cgroups import read_cgroups
from tests.inborn_agent.attest.container.fixtures_podman import PodmanEngine
from tests.rigs.fixtures_docker import DockerEngine, facts_of_container

pytestmark = [pytest.mark.root, pytest.mark.needs("podman", "runc")]


async def test_a_container_of_podman_has_label_environment_image_and_digest(
    podman_engine: PodmanEngine, podman_image: str
) -> None:
    digest = podman_engine.docker("image", "inspect", "--format", "{{.Id}}", podman_image)
    facts = await facts_of_container(podman_engine, podman_image, "--label", "app=web", "--env", "COLOUR=red")
    assert {
        "label:com.example.team:payments",
        "label:app:web",
        "env:APP_ENV=test",
        "env:COLOUR=red",
        f"image_id:{podman_image}",
        f"image_config_digest:sha256:{digest}",
    } <= facts["docker"]
    assert {"seccomp:filter", "ns_pid:private", "userns:host", "runtime_socket:none"} <= facts["posture"]


async def test_a_privileged_container_is_seen_for_what_it_is(podman_engine: PodmanEngine, podman_image: str) -> None:
    found = (await facts_of_container(podman_engine, podman_image, "--privileged"))["posture"]
    assert {"seccomp:off", "cap_eff:CAP_SYS_ADMIN", "cap_eff:CAP_SYS_PTRACE"} <= found


async def test_a_hardened_container_is_locked_in(podman_engine: PodmanEngine, podman_image: str) -> None:
    options = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "1000:1000")
    found = (await facts_of_container(podman_engine, podman_image, *options))["posture"]
    assert {"seccomp:filter", "no_new_privs:true", "cap_eff:none", "cap_bnd:none", "rootfs:ro"} <= found


async def test_a_user_namespace_of_podmans_is_mapped(podman_engine: PodmanEngine, podman_image: str) -> None:
    options = ("--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536")
    podman_engine.directory.chmod(0o711)
    facts = await facts_of_container(podman_engine, podman_image, *options)
    assert "userns:mapped" in facts["posture"]
    assert "uid:200000" in facts["unix"]


async def test_the_socket_of_podman_is_seen_where_it_is_mounted(podman_engine: PodmanEngine, podman_image: str) -> None:
    volume = f"{podman_engine.socket}:/harmless"
    found = (await facts_of_container(podman_engine, podman_image, "--volume", volume))["posture"]
    assert "runtime_socket:visible" in found


def test_what_watches_a_container_bears_its_id_and_is_none_of_it(
    podman_engine: PodmanEngine, podman_image: str
) -> None:
    """conmon runs on the host. Under systemd its group has the container's id in its name, without being inside it."""
    id_ = podman_engine.start(podman_image)
    conmon = int(podman_engine.docker("inspect", "--format", "{{.State.ConmonPid}}", id_))
    with pin_pid(conmon) as process:
        assert attest_container(process, EngineClient(podman_engine.socket)).selectors == frozenset()
    podman_engine.remove(id_)


@pytest.mark.docker
async def test_of_two_engines_the_one_that_runs_the_container_speaks(
    podman_engine: PodmanEngine, podman_image: str, docker_engine: DockerEngine, docker_image: str, tmp_path: Path
) -> None:
    sockets = [docker_engine.socket, podman_engine.socket, str(tmp_path / "none")]
    for order in (sockets, sockets[::-1]):
        attestor = WorkloadAttestors(engines=[EngineClient(path) for path in order])
        for engine, image in ((docker_engine, docker_image), (podman_engine, podman_image)):
            id_ = engine.start(image)
            with pin_pid(engine.pid(id_)) as process:
                assert container_id(read_cgroups(process)) == id_
                evidence = await attestor.attest(process)
            assert f"docker:image_id:{image}" in {str(selector) for selector in evidence.selectors}
            assert evidence.hints == ()
            engine.remove(id_)
        attestor.close()


def test_a_process_of_the_host_has_none_of_it(podman_engine: PodmanEngine) -> None:
    with pin_pid(os.getpid()) as process:
        assert attest_container(process, EngineClient(podman_engine.socket)).selectors == frozenset()
