"""Agents as an admin names them: by SPIFFE ID or by name."""

from __future__ import annotations

from inborn.errors import NotFoundError
from inborn_ca.model.records import Member, MemberKind
from inborn_ca.store.interface import Reader

__all__ = ["find_agent"]


def find_agent(reader: Reader, text: str) -> Member:
    """An agent by its SPIFFE ID or its name. Raises `NotFoundError`."""
    for member in reader.members():
        if member.kind is MemberKind.AGENT and text and text in (str(member.spiffe_id), member.name):
            return member
    raise NotFoundError(f"no agent is called {text[:200]!a}", hint="inborn agent list shows them")
