"""Requests that carry their own proof to the signer.

The requester signs (trust domain, method, log_id, a rising number, its certificate's serial, the request) with its
certificate's key under a context of its own. Whoever carries the request can drop it, and nothing else. The wire form
lives in `inborn_proto.signed`; here are the bytes that are signed and the check of the signature.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from inborn.errors import UnauthenticatedError

__all__ = [
    "FEED_CONTEXT",
    "MAX_BODY_SIZE",
    "REQUEST_CONTEXT",
    "BadSignature",
    "sign_octets",
    "verify_octets",
]

MAX_BODY_SIZE = 1024 * 1024  # bytes: 500 items of 2 KiB

REQUEST_CONTEXT = b"inborn signed request v1\0"
FEED_CONTEXT = b"inborn feed v1\0"


_ECDSA = ec.ECDSA(hashes.SHA256())  # made once: 1.5 us less a signature


class BadSignature(UnauthenticatedError):
    """A signature is not that of the key it should be."""


def sign_octets(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, context: bytes, body: bytes) -> bytes:
    """Sign `context` and `body`: ECDSA with SHA-256 (DER), or Ed25519."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(context + body)
    return key.sign(context + body, _ECDSA)


def verify_octets(key: object, context: bytes, body: bytes, signature: bytes) -> None:
    """Check a signature made by `sign_octets`.

    Raises `BadSignature`, also for a key of a type that is not offered. Not checked: what the body says.
    """
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, context + body, _ECDSA)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, context + body)
        else:
            raise BadSignature(f"key of type {type(key).__name__} cannot have signed this")
    except InvalidSignature as e:
        raise BadSignature(f"signature under {context[:-1].decode()!r} is not the requester's") from e
