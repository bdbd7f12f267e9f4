"""What a refused command leaves behind: values that it raises, and that the queue has written once the command is
undone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from inborn.errors import DeniedError, InbornError
from inborn_ca.model.records import Member

__all__ = ["Consequence", "ConsequentialDenial", "ConsequentialRefusal", "OpenAlarm", "StopRenewals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlarm:
    """An alarm for the admin."""

    kind: str
    subject: str
    message: str
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRenewals:
    """This member gets nothing more by the certificates that it has, until an admin enrolls it anew."""

    member: Member
    at: dt.datetime


Consequence = OpenAlarm | StopRenewals


class ConsequentialRefusal(InbornError):
    """A refusal, of whichever kind, with consequences that outlive it. They do not travel to the caller."""

    consequences: tuple[Consequence, ...] = ()

    def __init__(
        self, message: str, *, consequences: tuple[Consequence, ...] = (), hint: str = "", **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **facts)
        self.consequences = consequences


class ConsequentialDenial(ConsequentialRefusal, DeniedError):
    """Understood, denied, and with consequences."""
