"""CRLs over plain HTTP, for software that fetches them: the lists are signed, and HTTPS would need a list itself.

    GET /crl                    what there is, as JSON
    GET /crl/<key id>.crl       one authority's list, DER, application/pkix-crl (RFC 2585 4.2)

Read only, and open to everybody: a CRL is no secret. What the signer has published is checked when somebody asks for
it and it is news (`CrlShelf`); whoever asks meanwhile waits for the same check.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import time
from collections.abc import Sequence
from email.utils import format_datetime

from inborn._internal.address import Address
from inborn._internal.host.log import get_logger
from inborn._internal.http.exchange import HttpLimits, HttpRequest, HttpResponse
from inborn._internal.http.http_server import HttpServer
from inborn.errors import UnavailableError
from inborn_ca.front.crl_shelf import CrlShelf, PublishedCrl
from inborn_ca.front.known_domain import KnownDomain
from inborn_proto import feed_pb2

__all__ = ["CrlPort", "CrlPortTaken"]

log = get_logger("ca.crl")

# Each connection may hold one list in its buffer. 32 of an address: a machine with many consumers; a stranger has to
# come from many addresses to keep others out.
LIMITS = HttpLimits(connections=256, per_address=32)

_PATH = re.compile(r"/crl/([0-9a-f]{2,128})\.crl")  # subject key identifiers: SHA-1 has 20 bytes, SHA-512 has 64
_ALWAYS_ASK = ("Cache-Control", "no-cache")  # a cache that kept a list for minutes would let in who is revoked


class CrlPortTaken(UnavailableError):
    """The port for CRLs belongs to somebody else."""


class CrlPort:
    """The port. `open`, and `close` at the end."""

    def __init__(self, domain: KnownDomain, limits: HttpLimits = LIMITS) -> None:
        self._domain = domain
        self._shelf = CrlShelf()
        self._seen: Sequence[feed_pb2.AuthorityState] | None = None
        self._checking = asyncio.Lock()
        self._server = HttpServer(self._answer, limits)

    async def open(self, address: Address, *, patience: float) -> None:
        """Listen; a port that is still taken may become free within `patience` seconds. Raises `CrlPortTaken`."""
        deadline = time.monotonic() + patience
        while True:
            try:
                await self._server.open_tcp(address.host, address.port)
                return
            except OSError as e:
                if e.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise CrlPortTaken(
                        f"cannot listen on {address} for CRLs: {e.strerror}",
                        hint="stop what uses it, or choose another port with --crl-port",
                    ) from e
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        await self._server.close()

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        await self._take_news()
        if request.path in ("/crl", "/crl/"):
            return _index(self._shelf.published())
        match = _PATH.fullmatch(request.path)
        found = self._shelf.get(bytes.fromhex(match[1])) if match and len(match[1]) % 2 == 0 else None
        if found is None:
            return HttpResponse(code=404, body=b"no such CRL: see /crl\n", headers=(("Content-Type", "text/plain"),))
        return _list(found, request.headers.get("if-none-match", ""))

    async def _take_news(self) -> None:
        """Check what has come since somebody asked last, in a thread: a long list takes a third of a second."""
        async with self._checking:
            news = self._domain.authorities
            if news is self._seen:
                return
            pairs = [(authority.certificate, authority.crl) for authority in news]
            for refused in await asyncio.to_thread(self._shelf.put, pairs):
                log.error("crl.refused", reason=refused.message)
            self._seen = news


def _list(crl: PublishedCrl, known: str) -> HttpResponse:
    tag = f'"{crl.digest}"'
    headers = (
        ("Content-Type", "application/pkix-crl"),
        ("ETag", tag),
        ("Last-Modified", format_datetime(crl.this_update, usegmt=True)),
        _ALWAYS_ASK,
    )
    if known == "*" or tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return HttpResponse(code=304, headers=headers)
    return HttpResponse(code=200, body=crl.der, headers=headers)


def _index(crls: list[PublishedCrl]) -> HttpResponse:
    document = {
        "crls": [
            {
                "authority": crl.authority.hex(),
                "kind": "root" if crl.is_root else "issuing",
                "path": f"/crl/{crl.authority.hex()}.crl",
                "number": crl.number,
                "this_update": f"{crl.this_update:%Y-%m-%dT%H:%M:%SZ}",
                "next_update": f"{crl.next_update:%Y-%m-%dT%H:%M:%SZ}",
                "certificates": crl.certificates,
                "sha256": crl.digest,
            }
            for crl in crls
        ]
    }
    body = json.dumps(document, indent=2).encode() + b"\n"
    return HttpResponse(code=200, body=body, headers=(("Content-Type", "application/json"), _ALWAYS_ASK))
