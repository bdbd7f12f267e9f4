"""Bytes that are signed under a context, and the check of the signature."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.wire.signed_request import (
    FEED_CONTEXT,
    REQUEST_CONTEXT,
    BadSignature,
    sign_octets,
    verify_octets,
)
from inborn.errors import UnauthenticatedError

CONTEXTS = [REQUEST_CONTEXT, enroll_context("join_token"), enroll_context("x509pop"), FEED_CONTEXT]
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@pytest.fixture(params=["p256", "ed25519"])
def key(request: pytest.FixtureRequest) -> Key:
    if request.param == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("body", [b"", b"body", bytes(100_000)])
def test_signature_is_believed(key: Key, context: bytes, body: bytes) -> None:
    verify_octets(key.public_key(), context, body, sign_octets(key, context, body))


def test_altered_body_is_refused(key: Key) -> None:
    signature = sign_octets(key, REQUEST_CONTEXT, b"body")
    for body in (b"bodY", b"", b"body\0", b"\0body"):
        with pytest.raises(BadSignature, match="'inborn signed request v1' is not the requester's"):
            verify_octets(key.public_key(), REQUEST_CONTEXT, body, signature)


def test_signature_counts_under_its_own_context_alone(key: Key) -> None:
    for made, checked in itertools.permutations(CONTEXTS, 2):
        with pytest.raises(BadSignature):
            verify_octets(key.public_key(), checked, b"body", sign_octets(key, made, b"body"))


def test_no_context_is_the_beginning_of_another() -> None:
    """Else what stands in a body could pass for the end of a longer context."""
    for one, other in itertools.permutations(CONTEXTS, 2):
        assert not other.startswith(one)
    assert all(context.index(b"\0") == len(context) - 1 for context in CONTEXTS)


def test_signature_of_another_key_is_refused(key: Key) -> None:
    others: list[Key] = [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
    for other in others:
        with pytest.raises(BadSignature):
            verify_octets(key.public_key(), REQUEST_CONTEXT, b"body", sign_octets(other, REQUEST_CONTEXT, b"body"))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\xff" * 10_000])
def test_what_is_no_signature_is_refused(key: Key, signature: bytes) -> None:
    """Zeros for r and s among them."""
    with pytest.raises(BadSignature):
        verify_octets(key.public_key(), REQUEST_CONTEXT, b"body", signature)


def test_signature_with_octets_after_it_is_refused(key: Key) -> None:
    with pytest.raises(BadSignature):
        verify_octets(key.public_key(), REQUEST_CONTEXT, b"body", sign_octets(key, REQUEST_CONTEXT, b"body") + b"\0")


def test_key_of_another_type_is_refused() -> None:
    private = rsa.generate_private_key(65537, 2048)
    for other in (private.public_key(), None, b"key"):
        with pytest.raises(BadSignature, match="cannot have signed this"):
            verify_octets(other, REQUEST_CONTEXT, b"body", b"signature")


def test_refusal_is_about_the_requesters_credential() -> None:
    assert issubclass(BadSignature, UnauthenticatedError)
