"""Agents as an admin names them: by SPIFFE ID or by name."""

from __future__ import annotations

from contextlib import suppress

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import NotFoundError, RequestError
from inborn_ca.model.records import Member, MemberKind
from inborn_ca.store.interface import Reader

__all__ = ["find_agent"]


def find_agent(reader: Reader, text: str) -> Member:
    """An agent by its SPIFFE ID or its name. Raises `NotFoundError`."""
    member: Member | None = None
    if text.startswith("spiffe://"):
        with suppress(RequestError):
            member = reader.members.get(parse_spiffe_id(text))
    elif text:
        member = reader.members.find_agent(text)
    if member is not None and member.kind is MemberKind.AGENT:
        return member
    raise NotFoundError(f"no agent is called {text[:200]!a}", hint="inborn agent list shows them")
