"""The docker attestor: which container a pinned process lives in, by the word of the engine, held against the kernel's.

Selector names are SPIRE's. `docker:image_config_digest` is the engine's word; `docker:label`, `docker:env` and
`docker:image_id` (the name the image was started by, which can be moved to another image) are chosen by whoever starts
the container.
"""

from __future__ import annotations

import os

from inborn.pinned_process import FactUnreadable, PinnedProcess, read_whole
from inborn_agent.workload_attestors.cgroup import CgroupError, container_id, lies_within, parse_cgroups
from inborn_agent.workload_attestors.engine import Container, EngineClient, EngineError, UntrustedEngine
from inborn_agent.workload_attestors.evidence import Evidence, Findings

__all__ = ["attest_docker", "claims_container"]

# The kernel writes at most a path of 4 KiB for each of some fifteen hierarchies.
MAX_CGROUP_BYTES = 256 << 10


def claims_container(process: PinnedProcess) -> bool:
    """Tell whether the process's control groups speak of a container. Asks no engine, proves nothing."""
    try:
        return container_id(_groups(process)) is not None
    except (CgroupError, FactUnreadable):
        return True  # attest_docker says what is wrong


def attest_docker(process: PinnedProcess, client: EngineClient) -> Evidence:
    """Read the docker facts of `process`, none (and no call) for a process of the host.

    A container counts only if the process lies, in every control group hierarchy, in or below the control group of
    what the engine calls that container's first process; that process lives throughout, and the engine says the same
    of it before and after. Where any of this fails the docker facts are absent, with a hint. Not checked: that the
    process lives when this returns. Blocks. Raises `ProcessGone`.
    """
    findings = Findings("docker")
    try:
        groups = _groups(process)
        id_ = container_id(groups)
        if id_ is not None:
            container = _running_container(client, id_)
            if not lies_within(groups, _groups_of_first_process(process, client, container), id_):
                raise CgroupError(f"the process claims container {id_[:12]} and lies outside its control groups")
            _add_facts(findings, container)
    except (CgroupError, FactUnreadable, EngineError, UntrustedEngine) as error:
        findings.hint(f"docker selectors left out: {error.message}")
    return findings.evidence()


def _groups(process: PinnedProcess) -> dict[str, str]:
    return parse_cgroups(process.read("cgroup", MAX_CGROUP_BYTES))


def _running_container(client: EngineClient, id_: str) -> Container:
    container = client.container(id_)
    if container is None:
        raise EngineError(f"the engine runs no container {id_[:12]}")
    return container


def _groups_of_first_process(process: PinnedProcess, client: EngineClient, container: Container) -> dict[str, str]:
    """Read the control groups of the container's first process, so that its number cannot have been used again.

    The directory below /proc is opened, then the engine is asked once more; a read through the directory afterwards
    fails if the process that was there at the opening has ended. (An engine that has not noticed yet that a
    container's first process ended could still be wrong about the number: milliseconds.)
    """
    try:
        directory = os.open(f"{process.proc}/{container.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            again = _running_container(client, container.id)
            if (again.pid, again.started_at) != (container.pid, container.started_at):
                raise EngineError(f"container {container.id[:12]} was started anew meanwhile")
            descriptor = os.open("cgroup", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            try:
                return parse_cgroups(read_whole(descriptor, MAX_CGROUP_BYTES))
            finally:
                os.close(descriptor)
        finally:
            os.close(directory)
    except OSError as error:
        raise EngineError(f"the first process of container {container.id[:12]} ended meanwhile") from error


def _add_facts(findings: Findings, container: Container) -> None:
    findings.add("image_config_digest", container.image_digest)
    findings.add("image_id", container.image)
    for key, value in sorted(container.labels.items()):
        findings.add("label", f"{key}:{value}")
    for item in sorted(container.env):
        findings.add("env", item)
