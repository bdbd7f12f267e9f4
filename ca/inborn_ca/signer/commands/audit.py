"""Rows of the audit trail, made in one place so that they read alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from inborn.errors import DeniedError, InbornError
from inborn_ca.model.records import AuditRow
from inborn_ca.signer.queue import Refusal

__all__ = ["denial", "row"]


def row(
    at: dt.datetime,
    actor: str,
    action: str,
    subject: str,
    *,
    detail: Mapping[str, object] | None = None,
    origin: str = "",
) -> AuditRow:
    """One change: who (`uid:0`, `agent:spiffe://...`), what (`entry.create`), to what, with what, from where."""
    return AuditRow(at=at, actor=actor, action=action, subject=subject, detail=detail or {}, origin=origin)


def denial(at: dt.datetime, action: str, *, origin: str, actor: str = "", subject: str = "") -> Refusal:
    """What is kept when a command is refused: a row for a denial, none for a request that cannot be read.

    An error may say better who and what, in its facts `actor` and `subject`.
    """

    def make(error: InbornError) -> AuditRow | None:
        if not isinstance(error, DeniedError):
            return None
        return AuditRow(
            at=at,
            actor=str(error.facts.get("actor", actor)) or "unknown",
            action=f"{action}.denied",
            subject=str(error.facts.get("subject", subject)),
            detail={"kind": error.kind, "message": error.message},
            origin=origin,
        )

    return Refusal(audit=make)
