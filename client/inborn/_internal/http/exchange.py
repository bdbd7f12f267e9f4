"""What a request and its answer are, and what one server allows: values, for those who answer. h11 is not loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from inborn.errors import RequestError

__all__ = ["HttpHandler", "HttpLimits", "HttpRefused", "HttpRequest", "HttpResponse"]


class HttpRefused(RequestError):
    """A request is none of those that are answered here; `code` is HTTP's word for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A GET or HEAD without a body."""

    method: str
    path: str
    """As it came, without the query."""
    headers: Mapping[str, str]
    """By name in lower case; of a repeated one the values joined by ", " (RFC 9110 5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """An answer; to HEAD the body's length is told and the body is not sent."""

    code: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one server allows; times in seconds, sizes in bytes."""

    connections: int
    per_address: int
    """Of one address; those of a UNIX socket have one together."""
    head: int = 16 * 1024
    """An RSA certificate in a header, escaped, has 6,000."""
    head_time: float = 10.0
    """For the first request to begin, and from the first byte of a head to its last."""
    idle_time: float = 75.0
    """Between two requests: longer than nginx keeps an idle connection to a server (60)."""
    send_time: float = 60.0
    """To take an answer: a list of 100,000 certificates (3.5 MB) over a slow line."""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Answers a request. It must not block; what it raises becomes 500."""
