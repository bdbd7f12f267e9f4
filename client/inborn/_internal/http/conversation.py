"""The requests and answers of one connection, as bytes in and bytes out (pure): h11's state machine, and what is
stricter here than there. Used by `http_server`.

h11 reads the grammar of RFC 9112 and is liberal where others may read otherwise: it takes a bare LF for the end of a
line, joins folded lines, and lets control characters pass. What could be understood in two ways is refused here before
h11 sees it. Bodies, upgrades and expectations are refused after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import h11

from inborn._internal.http.exchange import HttpRefused, HttpRequest, HttpResponse
from inborn.errors import InternalError

__all__ = ["HttpConversation"]

MAX_REQUEST_LINE = 2048  # bytes: what is served here has short paths
MAX_HEADERS = 100  # nginx's own limit is about that; a browser sends 20

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a line, CR and LF among them; a tab may stand in a header
_METHODS = frozenset({b"GET", b"HEAD"})
_VERSIONS = frozenset({b"1.0", b"1.1"})
_WITHOUT_LENGTH = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})  # RFC 9110 8.6


class HttpConversation:
    """One connection's state. `read` one head, `write` its answer, and so on until `is_over`."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=max_head)
        self._method = b""

    @property
    def is_over(self) -> bool:
        """Whether the connection carries no further request."""
        return self._connection.our_state is not h11.IDLE

    def read(self, head: bytes) -> HttpRequest:
        """Read a head that ends with an empty line. Raises `HttpRefused`; then a refusal is the last answer.

        Enforced: limits of size and number, CRLF alone ends a line, no control characters, no folded lines, one Host in
        HTTP/1.1 (RFC 9112 3.2), no body and nothing that announces one. Not checked: that Host is ours, the query.
        """
        self._check_bytes(head)
        self._connection.receive_data(head)
        try:
            request = self._connection.next_event()
            if not isinstance(request, h11.Request):
                raise HttpRefused(400, "not a request")
            self._method = request.method
            read = _accepted(request)
            # Whatever announces a body, by length or in chunks, also an empty one in chunks: it is not here yet.
            if not isinstance(self._connection.next_event(), h11.EndOfMessage):
                raise HttpRefused(413, "request has a body")
        except h11.RemoteProtocolError as e:
            raise HttpRefused(e.error_status_hint, f"not a request: {e}"[:200]) from e
        return read

    def write(self, response: HttpResponse, *, is_last: bool = False) -> bytes:
        """The answer to what was read, as bytes to send. Raises `InternalError` for what is no answer in HTTP."""
        try:
            octets = b"".join(self._connection.send(event) or b"" for event in self._events(response, is_last))
        except (h11.LocalProtocolError, UnicodeEncodeError) as e:
            raise InternalError(f"not an answer in HTTP: {e}") from e
        self._method = b""
        if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()
        return octets

    def _events(self, response: HttpResponse, is_last: bool) -> Iterator[h11.Event]:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        if response.code not in _WITHOUT_LENGTH:
            headers.append((b"Content-Length", b"%d" % len(response.body)))
        if is_last:
            headers.append((b"Connection", b"close"))
        yield h11.Response(status_code=response.code, headers=headers, reason=HTTPStatus(response.code).phrase)
        if response.body and self._method != b"HEAD":
            yield h11.Data(data=response.body)
        yield h11.EndOfMessage()

    def _check_bytes(self, head: bytes) -> None:
        if len(head) > self._max_head:
            raise HttpRefused(431, f"head of a request is longer than {self._max_head} bytes: {len(head)}")
        if not head.endswith(b"\r\n\r\n"):
            raise HttpRefused(400, "head of a request does not end with an empty line")
        first, *rest = head[:-4].split(b"\r\n")
        if len(first) > MAX_REQUEST_LINE:
            raise HttpRefused(414, f"request line is longer than {MAX_REQUEST_LINE} bytes: {len(first)}")
        if len(rest) > MAX_HEADERS:
            raise HttpRefused(431, f"request has more than {MAX_HEADERS} header lines: {len(rest)}")
        for line in (first, *rest):
            if not line or line[:1] in b" \t" or _CONTROL.search(line):
                raise HttpRefused(400, f"not a line of a request: {line[:60]!a}")


def _accepted(request: h11.Request) -> HttpRequest:
    """What h11 has read, if it is of what is answered here. Raises `HttpRefused`."""
    if request.http_version not in _VERSIONS:
        raise HttpRefused(505, f"not HTTP/1.0 or HTTP/1.1: {request.http_version!a}")
    if request.method not in _METHODS:
        raise HttpRefused(405, f"method is neither GET nor HEAD: {request.method[:32]!a}")
    if not request.target.startswith(b"/"):
        raise HttpRefused(400, f"target is no path: {request.target[:60]!a}")
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "," in headers.get("host", ""):
        raise HttpRefused(400, "request names more than one Host")
    if "expect" in headers or "upgrade" in headers:
        raise HttpRefused(400, "request expects what is not offered")
    return HttpRequest(method=request.method.decode(), path=request.target.decode().partition("?")[0], headers=headers)
