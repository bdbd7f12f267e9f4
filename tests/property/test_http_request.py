"""Heads of HTTP requests: whatever comes is read strictly or refused, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.http.http_request import MAX_HEAD, HttpRefused, parse_head

GOOD = b"GET /crl/ab.crl?x=1 HTTP/1.1\r\nHost: ca.example.org\r\nUser-Agent: x y\r\n\r\n"

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC-_0123456789", min_size=1, max_size=20).filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding", "expect", "upgrade", "connection"}
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=50)


def parse_code(head: bytes) -> int:
    """HTTP's word for what is refused; 200: it is not."""
    try:
        parse_head(head)
    except HttpRefused as e:
        return e.code
    return 200


@given(st.binary(max_size=400))
def test_any_octets_are_read_or_refused(head: bytes) -> None:
    assert parse_code(head) in {200, 400, 405, 413, 414, 431, 505}


@given(st.data())
def test_good_head_with_an_octet_changed_is_read_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    octet = data.draw(st.integers(0, 255))
    head = GOOD[:at] + bytes([octet]) + GOOD[at + 1 :]
    try:
        request = parse_head(head)
    except HttpRefused:
        return
    assert request.method in {"GET", "HEAD"}
    assert request.path.startswith("/")
    assert all(c.isprintable() and not c.isspace() for c in request.path)
    assert all("\r" not in v and "\n" not in v and "\0" not in v for v in request.headers.values())


@given(st.dictionaries(NAMES, VALUES, max_size=20))
def test_headers_come_back_as_they_were_sent(headers: dict[str, str]) -> None:
    by_name: dict[str, list[str]] = {}
    for name, value in headers.items():
        by_name.setdefault(name.lower(), []).append(value)
    lines = "".join(f"{name}: \t{value} \r\n" for name, value in headers.items())
    request = parse_head(f"HEAD / HTTP/1.0\r\n{lines}\r\n".encode())
    assert request.headers == {name: ", ".join(values) for name, values in by_name.items()}
    assert request.method == "HEAD"
    assert not request.keep_alive


def test_query_is_not_part_of_the_path() -> None:
    request = parse_head(GOOD)
    assert (request.method, request.path, request.keep_alive) == ("GET", "/crl/ab.crl", True)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://ca/crl HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
    ],
)
def test_what_could_mean_two_things_is_refused(head: bytes, code: int) -> None:
    assert parse_code(head) == code
