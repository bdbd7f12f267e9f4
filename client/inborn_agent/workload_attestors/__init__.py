"""Workload attestors: what a pinned process is, as selectors."""

from __future__ import annotations

from inborn_agent.workload_attestors.attestor import WorkloadAttestor
from inborn_agent.workload_attestors.docker import attest_docker
from inborn_agent.workload_attestors.engine import EngineClient
from inborn_agent.workload_attestors.evidence import Evidence
from inborn_agent.workload_attestors.host import Host
from inborn_agent.workload_attestors.posture import attest_posture
from inborn_agent.workload_attestors.systemd import attest_systemd
from inborn_agent.workload_attestors.unix import attest_unix

__all__ = [
    "EngineClient",
    "Evidence",
    "Host",
    "WorkloadAttestor",
    "attest_docker",
    "attest_posture",
    "attest_systemd",
    "attest_unix",
]
