"""Workload attestors: what a pinned process is, as selectors."""

from __future__ import annotations

from inborn_agent.attest.attestor import WorkloadAttestor
from inborn_agent.attest.container import attest_docker
from inborn_agent.attest.engine import EngineClient
from inborn_agent.attest.evidence import Evidence
from inborn_agent.attest.host import Host
from inborn_agent.attest.posture_facts import attest_posture
from inborn_agent.attest.systemd import attest_systemd
from inborn_agent.attest.unix import attest_unix

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
