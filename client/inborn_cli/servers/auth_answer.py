"""Whether a client that a server in front of us has authenticated may go on: for nginx's `auth_request`.

The server tells what it knows of the client in headers; the answer is 204, or 403 with one line that says why:

    X-Client-Verify   what the server made of the certificate: SUCCESS, or the client is refused
    X-Client-Cert     the client's certificate, PEM, percent-encoded ($ssl_client_escaped_cert)
    X-Client-Serial   its serial in hex ($ssl_client_serial), where the certificate cannot be had

With the certificate every kind of revocation counts at once, and so does its end. With the serial alone a revocation
by ID, key or prefix counts when the CRL has it, about a second later, and the end is not seen. The issuer is not asked
for: serials are unique in a trust domain, whichever authority has signed.

Not checked: the chain. The server did that at the handshake, against the bundle that `inborn files` gives it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from inborn._internal.http.exchange import HttpLimits, HttpRequest, HttpResponse
from inborn._internal.source.snapshot import IdentitySource, Snapshot
from inborn._internal.spiffe.x509_svid import CertificateFacts, InvalidSvid, load_certificate, read_certificate
from inborn.errors import DeniedError, InbornError, UnauthenticatedError, UnavailableError, moment
from inborn_cli.servers.revoked_serials import RevokedSerials

__all__ = ["LIMITS", "AuthAnswer"]

# A server keeps some connections open for each of its workers; all come over one socket.
LIMITS = HttpLimits(connections=1024, per_address=1024)

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_REMEMBERED = 4096  # certificates whose facts are kept: some megabytes
_MAX_SERIAL = 40  # hex digits, RFC 5280 4.1.2.2


class AuthAnswer:
    """Answers from a source's newest snapshot. Belongs to one event loop."""

    def __init__(
        self,
        source: IdentitySource,
        *,
        max_age: dt.timedelta | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_age`: refuse everybody once the CA has not been heard for so long; None: what is known goes on."""
        self._source = source
        self._max_age = max_age
        self._clock = clock
        self._monotonic = monotonic
        self._serials = RevokedSerials()
        self._known: tuple[object, int, int, frozenset[bytes]] | None = None

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """An `HttpHandler`."""
        try:
            spiffe_id = self._decide(request, self._source.snapshot())
        except DeniedError as e:
            return _refusal(403, e)
        except InbornError as e:
            return _refusal(503, e)  # nginx makes 500 of it: nobody gets through
        return HttpResponse(code=204, headers=(("X-Spiffe-Id", spiffe_id),) if spiffe_id else ())

    def _decide(self, request: HttpRequest, snapshot: Snapshot) -> str:
        """The client's ID; empty if its certificate is not known. Raises `DeniedError`, `UnavailableError`."""
        headers = request.headers
        if snapshot.trust_domain is None:
            raise UnavailableError(snapshot.reason or "the agent has not answered yet")
        age = snapshot.age(self._monotonic())
        if self._max_age is not None and (age is None or age > self._max_age):
            raise UnavailableError("the CA has not been heard for too long")
        if headers.get("x-client-verify") != "SUCCESS":
            raise UnauthenticatedError("server did not verify the client")
        if headers.get("x-client-cert"):
            return self._by_certificate(headers["x-client-cert"], snapshot)
        if headers.get("x-client-serial"):
            self._by_serial(headers["x-client-serial"], snapshot)
            return ""
        raise UnauthenticatedError("server tells neither certificate nor serial of the client")

    def _by_certificate(self, escaped: str, snapshot: Snapshot) -> str:
        facts = _facts(escaped)
        if facts.spiffe_id.trust_domain != snapshot.trust_domain:
            raise UnauthenticatedError(f"client is not of {snapshot.trust_domain}: {facts.spiffe_id}")
        now = self._clock()
        if now > facts.not_after:
            raise UnauthenticatedError(f"certificate expired at {moment(facts.not_after)}, now {moment(now)}")
        snapshot.revocations.check(facts)
        return str(facts.spiffe_id)

    def _by_serial(self, text: str, snapshot: Snapshot) -> None:
        if len(text) > _MAX_SERIAL or not all(c in "0123456789abcdefABCDEF" for c in text):
            raise UnauthenticatedError(f"not a serial in hex: {text[:_MAX_SERIAL]!a}")
        octets = bytes.fromhex(text.rjust(len(text) + len(text) % 2, "0")).lstrip(b"\0")
        revocations = snapshot.revocations
        # Revocations come and go with the log's length and number; CRLs with another tuple.
        if self._known is None or self._known[:3] != (snapshot.crls, revocations.seq, len(revocations)):
            self._known = (snapshot.crls, revocations.seq, len(revocations), self._serials.of(snapshot))
        if octets in self._known[3]:
            raise UnauthenticatedError(f"certificate {octets.hex()} is revoked")


@lru_cache(maxsize=_REMEMBERED)
def _facts(escaped: str) -> CertificateFacts:
    """Read one percent-encoded PEM certificate. Raises `UnauthenticatedError`: no certificate is no proof."""
    try:
        pem = unquote_to_bytes(escaped.encode("latin-1")).strip()
        if not pem.startswith(_BEGIN) or not pem.endswith(_END) or pem.count(b"-----BEGIN") != 1:
            raise UnauthenticatedError("client's certificate is not one in PEM")
        der = base64.b64decode(b"".join(pem[len(_BEGIN) : -len(_END)].split()), validate=True)
        return read_certificate(load_certificate(der))
    except (InvalidSvid, binascii.Error, UnicodeError) as e:
        raise UnauthenticatedError(f"client's certificate is no X509-SVID: {e}") from e


def _refusal(code: int, error: InbornError) -> HttpResponse:
    body = "".join(c if c.isprintable() else "?" for c in error.message).encode() + b"\n"
    return HttpResponse(code=code, body=body, headers=(("Content-Type", "text/plain; charset=utf-8"),))
