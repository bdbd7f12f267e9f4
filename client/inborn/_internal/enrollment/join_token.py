"""Join tokens: one string that a person can paste, holding whom to trust and the seed of a signing key.

`inborn1-<base32>-<trust domain>`, where the base32 (lower case, no padding) holds the digest of the whole root bundle
(32 bytes), the seed of an Ed25519 key (32) and a checksum over all of it and the trust domain (4). The CA keeps the
public half only. To enroll is to sign a CSR with it: the secret never crosses the wire.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId, TrustDomain
from inborn.errors import RequestError

__all__ = ["KIND", "InvalidToken", "JoinToken", "parse_join_token", "token_id"]

KIND = "join_token"
"""Its name as a kind of evidence."""

_PREFIX = "inborn1-"
_MAX_LENGTH = 512  # characters: 109 of base32, 255 of a trust domain, the prefix


class InvalidToken(RequestError):
    """A string is not a join token; the message never contains the string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A join token: valid if it exists. Its `repr` hides the secret."""

    trust_domain: TrustDomain
    bundle_digest: bytes
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.bundle_digest) != 32 or len(self.seed) != 32:
            raise InvalidToken("token's digest and seed must have 32 bytes each")

    @property
    def private_key(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public_key(self) -> bytes:
        """The raw 32 bytes of the public half."""
        return self.private_key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def id(self) -> bytes:
        return token_id(self.public_key)

    def encode(self) -> str:
        """The one string. It is a secret."""
        body = self.bundle_digest + self.seed
        return f"{_PREFIX}{_base32(body + _checksum(body, self.trust_domain.name))}-{self.trust_domain.name}"


def token_id(public_key: bytes) -> bytes:
    """The 16 bytes by which a token is named: they tell nothing of it."""
    return hashlib.sha256(b"inborn token id v1\0" + public_key).digest()[:16]


def parse_join_token(text: str) -> JoinToken:
    """Parse the string, which has one spelling; blanks around it are dropped.

    Raises `InvalidToken`, which says whether it is cut off. Not checked: whether any CA knows the token.
    """
    text = text.strip()
    if not text:
        raise InvalidToken("join token is empty")
    if len(text) > _MAX_LENGTH or not text.isascii():
        raise InvalidToken(f"join token is longer than {_MAX_LENGTH} characters or not ASCII")
    if not text.startswith(_PREFIX):
        raise InvalidToken("join token does not begin with inborn1-")
    encoded, _, name = text[len(_PREFIX) :].partition("-")
    try:
        octets = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
    except (binascii.Error, ValueError) as e:
        raise InvalidToken("join token is cut off or altered") from e
    body, checksum = octets[:64], octets[64:]
    if not hmac.compare_digest(checksum, _checksum(body, name)) or not hmac.compare_digest(encoded, _base32(octets)):
        raise InvalidToken("join token is cut off or altered")
    try:
        trust_domain = TrustDomain(name)
    except InvalidSpiffeId as e:
        raise InvalidToken(f"join token's {e.message}") from e
    return JoinToken(trust_domain=trust_domain, bundle_digest=body[:32], seed=body[32:])


def _base32(octets: bytes) -> str:
    return base64.b32encode(octets).decode().rstrip("=").lower()


def _checksum(body: bytes, trust_domain: str) -> bytes:
    return hashlib.sha256(b"inborn join token v1\0" + body + trust_domain.encode()).digest()[:4]
