"""Attacks on enrollment: somebody stands between the joiner and the CA. Nothing is told to him."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import inborn
from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.spiffe.x509_bundle import bundle_digest
from inborn._internal.verification.verify import NotAuthorized, UntrustedCertificate
from inborn.errors import InbornError, RequestError, UnavailableError
from inborn.testing import MemoryAuthority
from inborn_member.bootstrap import BundleMismatch, enroll
from inborn_member.node_attestors.join_token import TokenEvidence
from tests.rigs.fixtures_spoken_ca import SpokenAuthority


@pytest.fixture
def middle(authority: MemoryAuthority, ca: SpokenAuthority) -> Iterator[SpokenAuthority]:
    """A server of the attacker's that knows everything public: the bundle, the token's public half."""
    attacker = SpokenAuthority(authority)
    attacker.token, attacker.token_key = ca.token, ca.token_key
    yield attacker
    attacker.stop()


def fails(ca: SpokenAuthority, server: SpokenAuthority, directory: Path, error: type[InbornError]) -> InbornError:
    with pytest.raises(error) as caught, inborn.enroll(ca.token, ca=server.address, directory=directory, timeout=0.1):
        pass
    assert server.enrolled == []  # nothing signed with the token's key was sent
    return caught.value


def test_workload_with_a_good_svid_in_the_middle_learns_nothing(
    authority: MemoryAuthority, ca: SpokenAuthority, middle: SpokenAuthority, tmp_path: Path
) -> None:
    middle.source = authority.source("spiffe://example.org/web")
    middle.start()
    fails(ca, middle, tmp_path, NotAuthorized)


def test_agent_in_the_middle_learns_nothing(
    authority: MemoryAuthority, ca: SpokenAuthority, middle: SpokenAuthority, tmp_path: Path
) -> None:
    middle.source = authority.source("spiffe://example.org/inborn/agent/1")
    middle.start()
    fails(ca, middle, tmp_path, NotAuthorized)


def test_server_with_roots_of_its_own_is_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    attacker = SpokenAuthority(MemoryAuthority("example.org"))
    attacker.start()
    try:
        error = fails(ca, attacker, tmp_path, BundleMismatch)
        assert "ask for a new token" in error.hint
    finally:
        attacker.stop()


def test_right_bundle_and_a_chain_of_the_attackers_is_refused(
    authority: MemoryAuthority, ca: SpokenAuthority, tmp_path: Path
) -> None:
    attacker = SpokenAuthority(MemoryAuthority("example.org"))
    attacker.roots = authority.bundle.ders()
    attacker.start()
    try:
        fails(ca, attacker, tmp_path, UntrustedCertificate)
    finally:
        attacker.stop()


def test_root_appended_to_the_right_bundle_is_refused(
    authority: MemoryAuthority, ca: SpokenAuthority, tmp_path: Path
) -> None:
    ca.roots = [*authority.bundle.ders(), MemoryAuthority("example.org").bundle.ders()[0]]
    fails(ca, ca, tmp_path, BundleMismatch)


def test_another_trust_domains_ca_is_refused(tmp_path: Path) -> None:
    """The digest is right, because the token was made from that bundle, but the token is of another domain."""
    other = SpokenAuthority(MemoryAuthority("other.org"))
    other.source = other.authority.source("spiffe://other.org/inborn/ca/1")
    other.start()
    token = JoinToken(
        trust_domain=inborn.TrustDomain("example.org"),
        bundle_digest=bundle_digest(other.authority.bundle.ders()),
        seed=bytes(32),
    )
    try:
        with (
            pytest.raises(UntrustedCertificate),
            inborn.enroll(token, ca=other.address, directory=tmp_path, timeout=0.1),
        ):
            pass
        assert other.enrolled == []
    finally:
        other.stop()


async def test_server_that_speaks_no_tls_is_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}"):
        await enroll(TokenEvidence(ca.token), f"127.0.0.1:{port}", ec.generate_private_key(ec.SECP256R1()))
    server.close()


@pytest.mark.parametrize("roots", [[], [b"x"], [b""], [b"\x30\x03\x02\x01\x01"]])
def test_bundle_that_is_none_is_refused(ca: SpokenAuthority, tmp_path: Path, roots: list[bytes]) -> None:
    ca.roots = roots
    fails(ca, ca, tmp_path, RequestError)
