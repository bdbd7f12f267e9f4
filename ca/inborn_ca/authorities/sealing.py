"""A secret under a passphrase, for backups: scrypt makes a guess dear, AES-256-GCM shows every alteration.

`inborn-sealed-1\\0`, 16 bytes of salt, 12 of nonce, the ciphertext with its tag. The label that the caller gives (a
key's identifier) is bound to it, so that two sealed secrets cannot be exchanged for each other.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from inborn.errors import RequestError

__all__ = ["MIN_PASSPHRASE", "WrongPassphrase", "seal", "unseal"]

MIN_PASSPHRASE = 12  # bytes: whoever has the backup may try as many as they like

_MAGIC = b"inborn-sealed-1\0"
_SALT, _NONCE = 16, 12
_SCRYPT = {"length": 32, "n": 2**15, "r": 8, "p": 1}  # 32 MiB and a tenth of a second for each guess (RFC 7914 2)


class WrongPassphrase(RequestError):
    """A sealed secret cannot be opened with this passphrase, or has been altered."""


def seal(secret: bytes, passphrase: bytes, label: bytes) -> bytes:
    """Encrypt. Raises `RequestError` for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise RequestError(f"passphrase has {len(passphrase)} bytes, at least {MIN_PASSPHRASE} are needed")
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return _MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, secret, _MAGIC + label)


def unseal(sealed: bytes, passphrase: bytes, label: bytes) -> bytes:
    """Decrypt what `seal` made for the same label. Raises `WrongPassphrase`."""
    head = len(_MAGIC)
    salt, nonce = sealed[head : head + _SALT], sealed[head + _SALT : head + _SALT + _NONCE]
    if not sealed.startswith(_MAGIC) or len(sealed) < head + _SALT + _NONCE + 16:
        raise WrongPassphrase("not a sealed secret, or one that is cut off")
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed[head + _SALT + _NONCE :], _MAGIC + label)
    except InvalidTag as e:
        raise WrongPassphrase("cannot be opened with this passphrase, or is altered") from e


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, **_SCRYPT).derive(passphrase)
