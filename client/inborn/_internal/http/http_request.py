"""The head of an HTTP request, read strictly (pure): what could be understood in two ways is refused.

For small read-only services: no body, no percent-decoding, no continuation lines, no upgrade (RFC 9112).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from inborn.errors import RequestError

__all__ = ["MAX_HEAD", "HttpRefused", "HttpRequest", "parse_head"]

MAX_HEAD = 16 * 1024  # octets: an RSA certificate in a header, escaped, has 6,000
MAX_REQUEST_LINE = 2048  # octets: what is served here has short paths
MAX_HEADERS = 100  # nginx's own limit is about that; a browser sends 20

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (\S{1,2048}) HTTP/([0-9])\.([0-9])")
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_HEADER = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_METHODS = frozenset({b"GET", b"HEAD"})


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
    keep_alive: bool


def parse_head(head: bytes) -> HttpRequest:
    """Read a head that ends with an empty line. Raises `HttpRefused`.

    Enforced: limits of size and number, CRLF alone ends a line, no control characters, no space before a colon, one
    Host in HTTP/1.1, no body and nothing that announces one. Not checked: that Host is ours, the query.
    """
    if len(head) > MAX_HEAD:
        raise HttpRefused(431, f"head of a request is longer than {MAX_HEAD} octets: {len(head)}")
    if not head.endswith(b"\r\n\r\n"):
        raise HttpRefused(400, "head of a request does not end with an empty line")
    first, *rest = head[:-4].split(b"\r\n")
    method, target, is_new = _request_line(first)
    headers = _headers(rest)
    if is_new and ("host" not in headers or "," in headers["host"]):
        raise HttpRefused(400, "request of HTTP/1.1 does not have one Host")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise HttpRefused(413, "request has a body")
    if "expect" in headers or "upgrade" in headers:
        raise HttpRefused(400, "request expects what is not offered")
    options = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    keep_alive = "close" not in options and (is_new or "keep-alive" in options)
    return HttpRequest(method=method, path=target.partition("?")[0], headers=headers, keep_alive=keep_alive)


def _request_line(line: bytes) -> tuple[str, str, bool]:
    """Method, target, and whether it is HTTP/1.1."""
    if len(line) > MAX_REQUEST_LINE:
        raise HttpRefused(414, f"request line is longer than {MAX_REQUEST_LINE} octets: {len(line)}")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HttpRefused(400, f"not a request line: {line[:60]!a}")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise HttpRefused(505, f"not HTTP/1.0 or HTTP/1.1: {line[-8:]!a}")
    if method not in _METHODS:
        raise HttpRefused(405, f"method is neither GET nor HEAD: {method[:32]!a}")
    if _TARGET.fullmatch(target) is None:
        raise HttpRefused(400, f"target is no path: {target[:60]!a}")
    return method.decode(), target.decode(), minor == b"1"


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise HttpRefused(431, f"request has more than {MAX_HEADERS} header lines: {len(lines)}")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise HttpRefused(400, f"not a header line: {line[:60]!a}")
        name, value = match[1].decode().lower(), match[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
