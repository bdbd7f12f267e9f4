"""Why a process has no identity: its selectors, what could not be read, what entries and policies want besides."""

from __future__ import annotations

from inborn._internal.process.pinning import PinnedProcess
from inborn_agent.attest import Evidence
from inborn_agent.cache.entry_table import EntryTable
from inborn_proto import agent_pb2

__all__ = ["explain"]

_MAX_VERDICTS = 50  # entries named in one answer, the nearest first: what a person reads


def explain(process: PinnedProcess, evidence: Evidence, *, entries: EntryTable | None) -> agent_pb2.WhyResponse:
    """`entries` is None for callers that may see nothing but their own selectors."""
    nearest = [] if entries is None else entries.nearest(evidence.selectors, limit=_MAX_VERDICTS)
    return agent_pb2.WhyResponse(
        pid=process.pid,
        selectors=sorted(str(selector) for selector in evidence.selectors),
        hints=evidence.hints,
        entries=[
            agent_pb2.EntryVerdict(
                entry_id=entry.id,
                spiffe_id=str(entry.spiffe_id),
                missing=[str(selector) for selector in entry.missing(evidence.selectors)],
                unmet=[str(demand) for demand in entry.unmet(evidence.selectors)],
            )
            for entry in nearest
        ],
        pinned_by=process.mode.value,
    )
