"""Who may go on, by what a server in front says of its client."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.http.exchange import HttpRequest, HttpResponse
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.source.snapshot import Snapshot, StaticSource
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.testing import MemoryAuthority
from inborn_cli.servers.auth_answer import AuthAnswer

CLIENT = "spiffe://example.org/client"


class Front:
    """A server in front, and what it asks."""

    def __init__(self, max_age: dt.timedelta | None = None) -> None:
        self.authority = MemoryAuthority("example.org")
        self.source = self.authority.source("spiffe://example.org/server")
        self.client = self.authority.svid(CLIENT)
        self.now = dt.datetime.now(dt.UTC)
        self.monotonic = self.source.snapshot().heard_at or 0.0
        self.answers = AuthAnswer(
            self.source, max_age=max_age, clock=lambda: self.now, monotonic=lambda: self.monotonic
        )

    async def ask(self, headers: Mapping[str, str]) -> HttpResponse:
        headers = {"x-client-verify": "SUCCESS", **headers}
        return await self.answers.answer(HttpRequest(method="GET", path="/", headers=headers))

    async def by_certificate(self, svid: X509Svid | None = None) -> int:
        return (await self.ask({"x-client-cert": escaped(svid or self.client)})).code

    async def by_serial(self, text: str = "") -> int:
        return (await self.ask({"x-client-serial": text or f"{self.client.leaf.serial_number:X}"})).code


def escaped(svid: X509Svid) -> str:
    """As nginx's $ssl_client_escaped_cert."""
    return quote(svid.leaf.public_bytes(Encoding.PEM).decode())


async def test_client_goes_on_and_its_id_is_told() -> None:
    front = Front()
    response = await front.ask({"x-client-cert": escaped(front.client)})
    assert (response.code, dict(response.headers)) == (204, {"X-Spiffe-Id": CLIENT})
    assert await front.by_serial() == 204


@pytest.mark.parametrize(
    "kind", [RevocationKind.SERIAL, RevocationKind.KEY, RevocationKind.SPIFFE_ID, RevocationKind.ID_PREFIX]
)
async def test_revoked_client_is_refused_at_once_by_its_certificate(kind: RevocationKind) -> None:
    front = Front()
    other = front.authority.svid("spiffe://example.org/other")
    facts = front.client.facts
    value = {
        RevocationKind.SERIAL: facts.serial,
        RevocationKind.KEY: facts.key_hash,
        RevocationKind.SPIFFE_ID: CLIENT.encode(),
        RevocationKind.ID_PREFIX: CLIENT.encode(),
    }[kind]
    assert await front.by_certificate() == 204
    front.authority.revoke_target(kind, value)
    assert await front.by_certificate() == 403
    assert await front.by_certificate(other) == 204
    assert await front.by_certificate(front.authority.svid(CLIENT)) == 204  # issued after the revocation


async def test_revoked_serial_is_refused_by_rule_and_by_crl() -> None:
    front = Front()
    assert await front.by_serial() == 204
    front.authority.revoke(front.client)
    assert await front.by_serial() == 403
    other = front.authority.svid(CLIENT)
    serial = f"{other.leaf.serial_number:x}"
    assert await front.by_serial(serial) == 204
    front.source.replace(dataclasses.replace(front.source.snapshot(), crls=(crl_of(front.authority, other),)))
    assert await front.by_serial(serial) == 403
    assert await front.by_serial("00" + serial) == 403  # however it is written
    assert await front.by_serial(serial.upper()) == 403


async def test_client_that_has_expired_is_refused() -> None:
    front = Front()
    front.now = front.client.facts.not_after
    assert await front.by_certificate() == 204
    front.now += dt.timedelta(seconds=1)
    assert await front.by_certificate() == 403


async def test_client_of_another_trust_domain_is_refused() -> None:
    front = Front()
    assert await front.by_certificate(MemoryAuthority("example.net").svid("spiffe://example.net/client")) == 403


@pytest.mark.parametrize("verify", ["", "NONE", "FAILED:certificate has expired", "success", "SUCCESS, SUCCESS"])
async def test_client_that_the_server_did_not_verify_is_refused(verify: str) -> None:
    front = Front()
    response = await front.ask({"x-client-verify": verify, "x-client-cert": escaped(front.client)})
    assert response.code == 403


async def test_who_is_not_told_is_refused() -> None:
    front = Front()
    assert (await front.ask({})).code == 403
    assert (await front.ask({"x-client-cert": "", "x-client-serial": ""})).code == 403


async def test_nobody_goes_on_before_anything_is_known() -> None:
    empty = StaticSource(Snapshot(trust_domain=None, svids=(), bundles={}, reason="the agent does not answer"))
    front = Front()
    answers = AuthAnswer(empty)
    headers = {"x-client-verify": "SUCCESS", "x-client-cert": escaped(front.client)}
    response = await answers.answer(HttpRequest(method="GET", path="/", headers=headers))
    assert (response.code, response.body) == (503, b"the agent does not answer\n")


async def test_silence_of_the_ca_counts_only_where_it_was_asked_for() -> None:
    patient, strict = Front(), Front(max_age=dt.timedelta(minutes=5))
    for front, later in ((patient, 204), (strict, 503)):
        front.monotonic += 299
        assert await front.by_certificate() == 204
        front.monotonic += 2
        assert await front.by_certificate() == later


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=200))
async def test_anything_that_is_no_certificate_is_refused(text: str) -> None:
    front = Front()
    assert (await front.ask({"x-client-cert": text or "x"})).code == 403
    assert (
        await front.ask({"x-client-cert": quote(f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----")})
    ).code == 403


async def test_two_certificates_are_none() -> None:
    front = Front()
    other = front.authority.svid(CLIENT)
    assert (await front.ask({"x-client-cert": escaped(front.client) + escaped(other)})).code == 403
    assert (await front.ask({"x-client-cert": f"{escaped(front.client)}, {escaped(other)}"})).code == 403


@pytest.mark.parametrize("serial", ["0x12", "12:34", "-1", "g", "1" * 41, " 12"])
async def test_serial_that_is_none_is_refused(serial: str) -> None:
    assert await Front().by_serial(serial) == 403


def crl_of(authority: MemoryAuthority, svid: X509Svid) -> bytes:
    now = dt.datetime.now(dt.UTC)
    revoked = x509.RevokedCertificateBuilder().serial_number(svid.leaf.serial_number).revocation_date(now).build()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.issuing.subject)
        .last_update(now)
        .next_update(now + dt.timedelta(days=1))
        .add_revoked_certificate(revoked)
    )
    return builder.sign(authority.issuing_key, hashes.SHA256()).public_bytes(Encoding.DER)
