"""The port for CRLs, asked by clients that behave and by some that do not."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.address import Address
from inborn._internal.http.exchange import HttpLimits, HttpRequest, HttpResponse
from inborn._internal.http.http_server import HttpServer
from inborn.testing import MemoryAuthority
from inborn_ca.authorities.crl import build_crl
from inborn_ca.front.crl_port import CrlPort, CrlPortTaken
from inborn_ca.front.known_domain import KnownDomain
from inborn_proto import feed_pb2
from tests.rigs.fixtures_up import Machine
from tests.rigs.front_rig import free_port
from tests.rigs.up_rig import wait_until

PATIENCE = 20.0  # seconds, on a machine that is swamped
LIMITS = HttpLimits(connections=8, per_address=4, head_time=0.5, idle_time=0.5, send_time=1.0)


class Domain:
    """A domain of one issuing authority that publishes lists."""

    def __init__(self) -> None:
        self.authority = MemoryAuthority("example.org")
        self.known = KnownDomain(self.authority.bundle, self.authority.log_id)
        self.now = dt.datetime.now(dt.UTC)
        extension = self.authority.issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        self.path = f"/crl/{extension.value.digest.hex()}.crl"

    def crl(self, number: int, revoked: int = 0) -> bytes:
        return build_crl(
            issuer=self.authority.issuing,
            key=self.authority.issuing_key,
            number=number,
            this_update=self.now + dt.timedelta(seconds=number),
            next_update=self.now + dt.timedelta(days=1),
            revoked=[(n.to_bytes(19, "big"), self.now, 0) for n in range(1, revoked + 1)],
        )

    def publish(self, crl: bytes) -> bytes:
        der = self.authority.issuing.public_bytes(Encoding.DER)
        self.known.authorities = (feed_pb2.AuthorityState(certificate=der, state="ACTIVE", crl=crl),)
        return crl


@asynccontextmanager
async def serving(domain: Domain, limits: HttpLimits = LIMITS) -> AsyncIterator[int]:
    port = free_port()
    server = CrlPort(domain.known, limits)
    await server.open(Address("127.0.0.1", port), patience=0)
    try:
        yield port
    finally:
        await server.close()


async def ask(port: int, text: str) -> tuple[int, dict[str, str], bytes]:
    """Send it as it is, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.replace("\n", "\r\n").encode())
    async with asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def until_answered(port: int) -> None:
    """Until the server has seen others go and lets us in."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await ask(port, "GET /crl HTTP/1.0\n\n"))[0] == 200
                return
            except (ConnectionError, IndexError):
                await asyncio.sleep(0.01)


async def test_list_is_served_in_der_and_named_in_the_index() -> None:
    domain = Domain()
    crl = domain.publish(domain.crl(3, revoked=2))
    async with serving(domain) as port:
        code, headers, body = await ask(port, f"GET {domain.path} HTTP/1.0\n\n")
        assert (code, headers["Content-Type"], body) == (200, "application/pkix-crl", crl)
        _, headers, body = await ask(port, "GET /crl HTTP/1.0\n\n")
        (row,) = json.loads(body)["crls"]
        assert (row["path"], row["number"], row["certificates"], row["kind"]) == (domain.path, 3, 2, "issuing")


async def test_head_tells_the_length_and_sends_nothing() -> None:
    domain = Domain()
    crl = domain.publish(domain.crl(1))
    async with serving(domain) as port:
        code, headers, body = await ask(port, f"HEAD {domain.path} HTTP/1.0\n\n")
        assert (code, int(headers["Content-Length"]), body) == (200, len(crl), b"")


async def test_who_has_the_list_is_not_sent_it_again_until_there_is_another() -> None:
    domain = Domain()
    domain.publish(domain.crl(1))
    async with serving(domain) as port:
        _, headers, _ = await ask(port, f"GET {domain.path} HTTP/1.0\n\n")
        question = f"GET {domain.path} HTTP/1.0\nIf-None-Match: {headers['ETag']}\n\n"
        assert (await ask(port, question))[0] == 304
        newer = domain.publish(domain.crl(2, revoked=1))
        code, _, body = await ask(port, question)
        assert (code, body) == (200, newer)


async def test_older_list_is_never_shown_again() -> None:
    domain = Domain()
    older, newer = domain.crl(1), domain.crl(2, revoked=1)
    domain.publish(newer)
    async with serving(domain) as port:
        await ask(port, "GET /crl HTTP/1.0\n\n")
        domain.publish(older)
        assert (await ask(port, f"GET {domain.path} HTTP/1.0\n\n"))[2] == newer


async def test_list_that_nobody_signed_is_not_shown() -> None:
    domain = Domain()
    domain.publish(domain.crl(1)[:-1] + b"\x00")
    async with serving(domain) as port:
        assert (await ask(port, f"GET {domain.path} HTTP/1.0\n\n"))[0] == 404


async def test_one_connection_serves_many_requests() -> None:
    domain = Domain()
    crl = domain.publish(domain.crl(1, revoked=2000))
    async with serving(domain) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(20):
            writer.write(f"GET {domain.path} HTTP/1.1\r\nHost: ca\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(crl)) == crl
        writer.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GET / HTTP/1.0\n\n", 404),
        ("GET /crl/../../etc/passwd HTTP/1.0\n\n", 404),
        ("GET /crl/00.crl HTTP/1.0\n\n", 404),
        ("GET /crl/000.crl HTTP/1.0\n\n", 404),
        ("POST /crl HTTP/1.0\nContent-Length: 4\n\nabcd", 405),
        ("DELETE /crl HTTP/1.0\n\n", 405),
        ("nonsense\n\n", 400),
        ("GET /crl HTTP/1.0\nX: " + "a" * 20_000 + "\n\n", 431),
        ("GET /" + "a" * 4000 + " HTTP/1.0\n\n", 414),
    ],
)
async def test_everything_else_is_refused(text: str, code: int) -> None:
    domain = Domain()
    domain.publish(domain.crl(1))
    async with serving(domain) as port:
        assert (await ask(port, text))[0] == code
        assert (await ask(port, f"GET {domain.path} HTTP/1.0\n\n"))[0] == 200


async def test_who_says_nothing_or_never_ends_is_put_out() -> None:
    domain = Domain()
    domain.publish(domain.crl(1))
    async with serving(domain) as port:
        silent = await asyncio.open_connection("127.0.0.1", port)
        endless = await asyncio.open_connection("127.0.0.1", port)
        endless[1].write(b"GET /crl HTTP/1.0\r\n")
        idle = await asyncio.open_connection("127.0.0.1", port)
        idle[1].write(b"GET /crl HTTP/1.1\r\nHost: ca\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await silent[0].read() == b""
            assert await endless[0].read() == b""
            assert (await idle[0].read()).startswith(b"HTTP/1.1 200")
        for _, writer in (silent, endless, idle):
            writer.close()


async def test_slow_reader_is_put_out() -> None:
    async def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(code=200, body=bytes(1 << 25 if request.path == "/long" else 1))

    port = free_port()
    server = HttpServer(answer, HttpLimits(connections=1, per_address=1, send_time=0.5))
    await server.open_tcp("127.0.0.1", port)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET /long HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readexactly(1)
            await until_answered(port)
        writer.close()
    finally:
        await server.close()


async def test_connections_of_one_address_are_limited_and_come_free_again() -> None:
    domain = Domain()
    domain.publish(domain.crl(1))
    patient = HttpLimits(connections=8, per_address=4)
    async with serving(domain, patient) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for reader, writer in held:
            writer.write(b"GET /crl HTTP/1.1\r\nHost: ca\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            try:
                writer.write(b"GET /crl HTTP/1.0\r\n\r\n")
                assert await reader.read() == b""
            except ConnectionError:
                pass
        for _, each in (*held, (reader, writer)):
            each.close()
        await until_answered(port)


async def test_port_that_is_taken_is_named() -> None:
    domain = Domain()
    async with serving(domain) as port:
        with pytest.raises(CrlPortTaken, match=f"cannot listen on 127.0.0.1:{port}"):
            await CrlPort(domain.known).open(Address("127.0.0.1", port), patience=0)


def test_up_serves_crls_on_loopback_on_a_port_that_is_kept(machine: Machine) -> None:
    first = machine.status().crl_address
    assert first.startswith("127.0.0.1:")
    before = numbers(first)
    machine.entry("/web")
    with machine.source() as source:
        serial = source.svid.leaf.serial_number
    machine.revoke("/web")
    wait_until(lambda: sum(numbers(first).values()) == sum(before.values()) + 1, "a CRL with one more")
    machine.stop()
    machine.start()
    assert machine.status().crl_address == first
    assert serial in {entry.serial_number for path in numbers(first) for entry in crl_of(first, path)}


def numbers(address: str) -> dict[str, int]:
    """The paths of what is served, and how many certificates each names."""
    with urllib.request.urlopen(f"http://{address}/crl", timeout=PATIENCE) as answer:
        return {row["path"]: row["certificates"] for row in json.load(answer)["crls"]}


def crl_of(address: str, path: str) -> x509.CertificateRevocationList:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
        return x509.load_der_x509_crl(answer.read())
