"""Challenges for the kinds of evidence whose proof has to be fresh (pure; time and randomness are parameters).

Nothing is kept: a challenge holds its end and a MAC, by a key that is as old as the signer's process, over what it is
good for: this trust domain, this log, one kind of evidence, one CSR's key, until that moment. So a flood of requests
fills no table, the front can make none, and a challenge for one CSR is none for another. Within its life the same
enrollment may be sent again (its reply may have been lost): it gives a certificate to the same key and to nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from inborn.errors import RequestError, UnauthenticatedError, UnavailableError

__all__ = ["CHALLENGE_LIFE", "BadChallenge", "ChallengeExpired", "Challenges"]

CHALLENGE_LIFE = 60.0  # seconds: the joiner's call may take thirty, and a signature in a smart card takes one

_NONCE_SIZE = 16  # bytes: no two challenges are alike
_HEAD = struct.Struct(f">Q{_NONCE_SIZE}s")  # the end in milliseconds of the signer's monotonic clock, the nonce
_MAC_SIZE = 32  # bytes, SHA-256
CHALLENGE_SIZE = _HEAD.size + _MAC_SIZE


class BadChallenge(UnauthenticatedError):
    """A challenge was not made by this signer for this kind, this key and this log."""


class ChallengeExpired(UnavailableError):
    """A challenge was good, and came back too late."""


class Challenges:
    """Makes and checks the challenges of one signer."""

    def __init__(self, key: bytes, *, trust_domain: str, log_id: bytes) -> None:
        """`key` are 32 random bytes that never leave the process."""
        self._key = key
        self._recipient = _field(trust_domain.encode()) + _field(log_id)

    def make(self, kind: str, key_hash: bytes, *, now: float, nonce: bytes) -> bytes:
        """A challenge for an enrollment of this kind with a CSR for this key. `now` in seconds, monotonic."""
        if len(key_hash) != 32:
            raise RequestError(f"hash of a key has {len(key_hash)} bytes, not 32")
        head = _HEAD.pack(int((now + CHALLENGE_LIFE) * 1000), nonce)
        return head + self._mac(head, kind, key_hash)

    def check(self, challenge: bytes, kind: str, key_hash: bytes, *, now: float) -> None:
        """Raises `BadChallenge`, `ChallengeExpired`. The MAC comes first: nothing of a forged one is looked at."""
        head, mac = challenge[: _HEAD.size], challenge[_HEAD.size :]
        if len(challenge) != CHALLENGE_SIZE or not hmac.compare_digest(mac, self._mac(head, kind, key_hash)):
            raise BadChallenge(
                f"challenge was not made here for an enrollment by {kind} with this key", hint="ask for a new one"
            )
        end = _HEAD.unpack(head)[0] / 1000
        if now >= end:
            raise ChallengeExpired(f"challenge expired {now - end:.0f} s ago", hint="ask for a new one")

    def _mac(self, head: bytes, kind: str, key_hash: bytes) -> bytes:
        said = b"inborn challenge v1\0" + self._recipient + _field(kind.encode()) + _field(key_hash) + head
        return hmac.new(self._key, said, hashlib.sha256).digest()


def _field(octets: bytes) -> bytes:
    """With its length before it: no two lists of fields give the same bytes."""
    return struct.pack(">I", len(octets)) + octets
