"""One tree of errors for library, agent and CA.

The family says who must act: the caller sent something wrong (`RequestError`), it was understood and refused
(`DeniedError`), it may work later (`UnavailableError`), or it is our bug (`InternalError`). Facts are attributes; the
text is one lower-case line that names the rule and both values. An error keeps its type across the wire: `kind` names
it there and `error_from_wire` makes it anew. A process that does not have the type itself (the front between signer and
caller, an agent) has the error as its family, and passes its kind on.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import ClassVar

__all__ = [
    "AlreadyExistsError",
    "DeniedError",
    "ExhaustedError",
    "InbornError",
    "InternalError",
    "NotFoundError",
    "PreconditionError",
    "RequestError",
    "UnauthenticatedError",
    "UnavailableError",
    "duration",
    "error_from_wire",
    "moment",
]

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))  # in seconds

_MAX_WIRE_TEXT = 2048  # a longer text from the other side is cut: it ends in logs and terminals

_KIND = re.compile(r"[A-Z][A-Za-z0-9]{2,63}")  # the name of a class of ours
_MAX_FOREIGN_KINDS = (
    256  # kinds end up as labels of metrics: the other side must not make them grow; CA and agent have 90
)

_foreign_kinds: set[str] = set()

_kinds: dict[tuple[str, int], type[InbornError]] = {}
"""By name and status: agent and CA do not know each other, and may both have a name, of different families."""


class InbornError(Exception):
    """Base of all errors that a user of Inborn can meet.

    `message` is one line without a final full stop; `hint` says what to do, and may be empty. Further keyword
    arguments become the attribute `facts`; they are not sent over the wire.
    """

    status: ClassVar[int] = 13  # the gRPC status code, as a number
    _foreign_kind: str = ""

    def __init__(self, message: str, *, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _kinds[cls.__name__, cls.status] = cls

    @property
    def kind(self) -> str:
        """The name of the error's type, as it stands on the wire and in the audit trail."""
        return self._foreign_kind or type(self).__name__


class RequestError(InbornError):
    """The caller sent something that cannot be right."""

    status = 3  # INVALID_ARGUMENT


class NotFoundError(RequestError):
    """What the caller names does not exist."""

    status = 5  # NOT_FOUND


class AlreadyExistsError(RequestError):
    """What the caller wants to make is there already."""

    status = 6  # ALREADY_EXISTS


class PreconditionError(RequestError):
    """The request is right, and the state of things forbids it."""

    status = 9  # FAILED_PRECONDITION


class DeniedError(InbornError):
    """Understood and refused."""

    status = 7  # PERMISSION_DENIED


class UnauthenticatedError(DeniedError):
    """The caller's credential is not valid (any more)."""

    status = 16  # UNAUTHENTICATED


class UnavailableError(InbornError):
    """It may work later."""

    status = 14  # UNAVAILABLE


class ExhaustedError(UnavailableError):
    """A limit was reached; the text says which."""

    status = 8  # RESOURCE_EXHAUSTED


class InternalError(InbornError):
    """A bug of ours, or a machine that does not do what it must."""

    status = 13  # INTERNAL


_by_status: dict[int, type[InbornError]] = {
    3: RequestError,
    5: NotFoundError,
    6: AlreadyExistsError,
    7: DeniedError,
    8: ExhaustedError,
    9: PreconditionError,
    13: InternalError,
    14: UnavailableError,
    16: UnauthenticatedError,
}


def error_from_wire(kind: str, message: str, hint: str, status: int) -> InbornError:
    """Make the error that the other side raised.

    A kind that this process does not know becomes the family that `status` names, and keeps its name in `kind`; text is
    cut and control characters are replaced, because the other side chose it.
    """
    cls = _kinds.get((kind, status))
    is_foreign = cls is None and status in _by_status and _is_foreign(kind)
    cls = cls or _by_status.get(status, InternalError)
    error = cls.__new__(cls)
    InbornError.__init__(error, _one_line(message), hint=_one_line(hint))
    if is_foreign:
        error._foreign_kind = kind
    return error


def _is_foreign(kind: str) -> bool:
    """Whether this can be a type of another program of ours: not one that is here with another status."""
    if _KIND.fullmatch(kind) is None or any(name == kind for name, _ in _kinds):
        return False
    if kind not in _foreign_kinds and len(_foreign_kinds) >= _MAX_FOREIGN_KINDS:
        return False
    _foreign_kinds.add(kind)
    return True


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_WIRE_TEXT])


def moment(at: dt.datetime) -> str:
    """A time as errors show it: `2026-03-01T12:00:00Z`."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def duration(span: dt.timedelta) -> str:
    """A span of time as errors show it, in whole seconds: `1h30m`. Negative ones get a sign."""
    seconds = int(abs(span).total_seconds())
    if seconds == 0:
        return "0s"
    parts: list[str] = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if span < dt.timedelta() else "") + "".join(parts)
