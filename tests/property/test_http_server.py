"""The HTTP server, whatever comes: a request is read strictly or refused, and nothing is ever read in two ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.http.exchange import HttpLimits, HttpRequest, HttpResponse
from inborn._internal.http.http_server import HttpServer

PATIENCE = 20.0  # seconds, on a machine that is swamped
LIMITS = HttpLimits(connections=8, per_address=8)
GOOD = b"GET /crl/ab.crl?x=1 HTTP/1.1\r\nHost: ca.example.org\r\nUser-Agent: x y\r\n\r\n"
REFUSALS = {400, 405, 413, 414, 431, 501, 505}

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC-_0123456789", min_size=1, max_size=20).filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding", "expect", "upgrade", "connection"}
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=50)


@dataclass
class Server:
    """It answers what it understands with the path."""

    port: int = 0
    requests: list[HttpRequest] = field(default_factory=list)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        return HttpResponse(code=200, body=request.path.encode())

    async def codes(self, *pieces: bytes) -> list[int]:
        """Send the pieces and nothing more, and read all the answers with a parser that is not ours."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)  # so that a piece may be read before the next is there
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                while chunk := await reader.read(65536):
                    received += chunk
        except ConnectionError:
            pass  # it has said what it wanted to, and hung up on the rest
        finally:
            writer.close()
        return codes_of(received)


def codes_of(received: bytes) -> list[int]:
    """The answers, by their lengths; HEAD is not asked here. Fails for what is no HTTP, or is followed by anything."""
    codes = []
    while received:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(received)
        event = client.next_event()
        assert isinstance(event, h11.Response)
        codes.append(event.status_code)
        while not isinstance(event, h11.EndOfMessage):
            event = client.next_event()
            assert isinstance(event, h11.Data | h11.EndOfMessage)
        received = client.trailing_data[0]
    return codes


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    ours = Server()
    server = HttpServer(ours.answer, LIMITS)
    ours.port = await server.open_tcp("127.0.0.1", 0)
    try:
        yield ours
    finally:
        await server.close()


def is_clean(request: HttpRequest) -> bool:
    texts = [*request.headers, *request.headers.values()]
    return (
        request.method in {"GET", "HEAD"}
        and request.path.startswith("/")
        and request.path.isascii()
        and all(c.isprintable() and not c.isspace() for c in request.path)
        and not any(c in text for text in texts for c in "\r\n\0\x1b\x7f")
    )


def in_pieces(octets: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(octets) + 1) for cut in cuts}) if octets else []
    starts = [0, *ends]
    return [octets[start:end] for start, end in zip(starts, [*ends, len(octets)], strict=True)]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
async def test_any_bytes_are_answered_refused_or_hung_up_on_and_the_next_client_is_served(
    octets: bytes, cuts: list[int]
) -> None:
    async with serving() as server:
        codes = await server.codes(*in_pieces(octets, cuts))
        assert len(codes) <= 1
        assert set(codes) <= REFUSALS | {200}
        assert all(is_clean(request) for request in server.requests)
        assert await server.codes(GOOD) == [200]


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
async def test_good_head_with_a_byte_changed_is_read_or_refused(at: int, octet: int) -> None:
    async with serving() as server:
        codes = await server.codes(GOOD[:at] + bytes([octet]) + GOOD[at + 1 :])
        assert set(codes) <= REFUSALS | {200}
        assert len(server.requests) == codes.count(200) <= 1
        assert all(is_clean(request) for request in server.requests)


@given(st.lists(st.sampled_from([GOOD, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]), min_size=1, max_size=5), st.data())
async def test_requests_are_the_same_however_they_are_cut_up(requests: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(requests)
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=6))
    async with serving() as server:
        assert await server.codes(*in_pieces(octets, cuts)) == [200] * len(requests)
        assert [request.path for request in server.requests] == ["/crl/ab.crl" if r == GOOD else "/" for r in requests]


@given(st.dictionaries(NAMES, VALUES, max_size=20))
async def test_headers_come_back_as_they_were_sent(headers: dict[str, str]) -> None:
    by_name: dict[str, list[str]] = {}
    for name, value in headers.items():
        by_name.setdefault(name.lower(), []).append(value)
    lines = "".join(f"{name}: \t{value} \r\n" for name, value in headers.items())
    async with serving() as server:
        assert await server.codes(f"GET / HTTP/1.0\r\n{lines}\r\n".encode()) == [200]
        (request,) = server.requests
        assert request.headers == {name: ", ".join(values) for name, values in by_name.items()}


async def test_query_is_not_part_of_the_path() -> None:
    async with serving() as server:
        assert await server.codes(GOOD) == [200]
        assert [(request.method, request.path) for request in server.requests] == [("GET", "/crl/ab.crl")]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\r\n\r\n", 400),
        (b"\r\n" + GOOD, 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://ca/crl HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT ca:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * LIMITS.head + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 4 * LIMITS.head, 431),
    ],
    ids=lambda value: ascii(value[:60]) if isinstance(value, bytes) else str(value),
)
async def test_what_could_mean_two_things_is_refused_and_is_the_last_that_is_read(head: bytes, code: int) -> None:
    async with serving() as server:
        assert await server.codes(head, GOOD) == [code]
        assert server.requests == []
        assert await server.codes(GOOD) == [200]


@pytest.mark.parametrize("head", [b"", GOOD[:-1], GOOD[:-2], b"GET / HTTP/1.1\nHost: a\n\n", b"G"])
async def test_head_that_does_not_end_is_hung_up_on(head: bytes) -> None:
    async with serving() as server:
        assert await server.codes(head) == []
        assert server.requests == []


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: %d\r\n\r\n" % len(GOOD),
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0, 5\r\n\r\n",
        b"X: a\nContent-Length: 5\r\n\r\n",
    ],
)
async def test_request_smuggling_reaches_nobody(smuggled: bytes) -> None:
    async with serving() as server:
        codes = await server.codes(b"GET / HTTP/1.1\r\nHost: a\r\n" + smuggled, GOOD)
        assert len(codes) == 1
        assert set(codes) <= REFUSALS
        assert server.requests == []
