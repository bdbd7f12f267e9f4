"""Workload attestors: what a pinned process is, as selectors. Each folder in here is one kind of them."""

from __future__ import annotations

from inborn_agent.attest.attestors import WorkloadAttestors
from inborn_agent.attest.container.engine import EngineClient
from inborn_agent.attest.evidence import Evidence
from inborn_agent.attest.host import Host
from inborn_agent.attest.workload_attestor import WorkloadAttestor

__all__ = ["EngineClient", "Evidence", "Host", "WorkloadAttestor", "WorkloadAttestors"]
