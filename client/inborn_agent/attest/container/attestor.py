"""The container attestor: where a pinned process lives, by the word of the engine, held against the kernel's.

Docker and Podman alike. Selector names are SPIRE's. `docker:image_config_digest` is the engine's word; `docker:label`,
`docker:env` and `docker:image_id` (the name the image was started by, which can be moved to another image) are chosen
by whoever starts the container. What the engine of an ordinary user says is all that user's word, and has the type
`rootless` instead.
"""

from __future__ import annotations

import fcntl
import os
import struct

from inborn._internal.process.pinned_process import FactUnreadable, PinnedProcess, read_whole
from inborn._internal.process.procfs import open_fact
from inborn._internal.selectors.kinds.container import DOCKER, ROOTLESS
from inborn_agent.attest.cgroup import CgroupError, container_id, lies_within, parse_cgroups
from inborn_agent.attest.container.engine import Container, EngineClient, EngineError, UntrustedEngine
from inborn_agent.attest.evidence import NOTHING, Evidence, EvidenceBuilder
from inborn_agent.attest.host import Host
from inborn_agent.attest.process_cgroups import MAX_CGROUP_BYTES, read_cgroups
from inborn_agent.attest.workload_attestor import EngineQuestion

__all__ = ["ATTESTOR", "attest_container"]

_NS_GET_OWNER_UID = 0xB704  # linux/nsfs.h


def attest_container(process: PinnedProcess, *engines: EngineClient) -> Evidence:
    """Read the container facts of `process`, none (and no call) for a process of the host.

    The engines are asked one after the other until one knows the container; name those of root first. A container
    counts only if the process lies, in every control group hierarchy, in or below the control group of what the engine
    calls that container's first process; that process lives throughout, and the engine says the same of it before and
    after. The engine of an ordinary user counts only for that user's own processes. Where any of this fails the facts
    are absent, with a hint. Not checked: that the process lives when this returns. Blocks. Raises `ProcessGone`.
    """
    findings = EvidenceBuilder(DOCKER)
    try:
        groups = read_cgroups(process)
        id_ = container_id(groups)
        if id_ is None:
            return findings.evidence()
        client, container = _find(engines, id_)
        if client.owner_uid != 0:
            findings = EvidenceBuilder(ROOTLESS)
            _require_owned(process, client.owner_uid)
        if not lies_within(groups, _groups_of_first_process(process, client, container), id_):
            raise CgroupError(f"the process claims container {id_[:12]} and lies outside its control groups")
        _add_facts(findings, container)
    except (CgroupError, FactUnreadable, EngineError, UntrustedEngine) as error:
        findings.hint(f"docker selectors left out: {error.message}")
    return findings.evidence()


def _find(engines: tuple[EngineClient, ...], id_: str) -> tuple[EngineClient, Container]:
    """Find the engine that runs the container. One that does not answer keeps no other from being asked."""
    problem: EngineError | UntrustedEngine | None = None
    for client in engines:
        try:
            if (container := client.container(id_)) is not None:
                return client, container
        except (EngineError, UntrustedEngine) as error:
            problem = problem or error
    raise problem or EngineError(f"the engine runs no container {id_[:12]}")


def _require_owned(process: PinnedProcess, uid: int) -> None:
    """Refuse (`UntrustedEngine`) a process that neither is the user's nor lives in a user namespace of that user's."""
    if process.uid == uid:
        return
    descriptor = process.open("ns/user")
    try:
        owner = struct.unpack("I", fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, bytes(4)))[0]
    except OSError as error:
        raise FactUnreadable(f"the owner of its user namespace: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if owner != uid:
        raise UntrustedEngine(f"the engine of uid {uid} speaks of a process that is not that user's")


def _groups_of_first_process(process: PinnedProcess, client: EngineClient, container: Container) -> dict[str, str]:
    """Read the control groups of the container's first process, so that its number cannot have been used again.

    The directory below /proc is opened, then the engine is asked once more; a read through the directory afterwards
    fails if the process that was there at the opening has ended. (An engine that has not noticed yet that a
    container's first process ended could still be wrong about the number: milliseconds.)
    """
    try:
        directory = os.open(f"{process.proc}/{container.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            again = client.container(container.id)
            if again is None or (again.pid, again.started_at) != (container.pid, container.started_at):
                raise EngineError(f"container {container.id[:12]} ended or was started anew meanwhile")
            descriptor = open_fact("cgroup", directory)
            try:
                return parse_cgroups(read_whole(descriptor, MAX_CGROUP_BYTES))
            finally:
                os.close(descriptor)
        finally:
            os.close(directory)
    except OSError as error:
        raise EngineError(f"the first process of container {container.id[:12]} ended meanwhile") from error


def _add_facts(findings: EvidenceBuilder, container: Container) -> None:
    findings.add("image_config_digest", container.image_digest)
    findings.add("image_id", container.image)
    for key, value in sorted(container.labels.items()):
        findings.add("label", f"{key}:{value}")
    for item in sorted(container.env):
        findings.add("env", item)


class _ContainerAttestor:
    reads_executable = False

    def attest(self, process: PinnedProcess, host: Host) -> Evidence | EngineQuestion:
        if not host.engines or not _claims_container(process):
            return NOTHING
        return lambda: attest_container(process, *host.engines)


ATTESTOR = _ContainerAttestor()


def _claims_container(process: PinnedProcess) -> bool:
    """Tell whether the process's control groups speak of a container. Asks no engine, proves nothing."""
    try:
        return container_id(read_cgroups(process)) is not None
    except (CgroupError, FactUnreadable):
        return True  # attest_container says what is wrong
