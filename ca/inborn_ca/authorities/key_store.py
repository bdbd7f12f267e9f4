"""Private keys of the CA as files, 0600 in a directory of their own, 0700.

A key is durable before its identifier is known to anybody. A file or directory that others could have read or written
is refused: what stands in it may no longer be secret, or not ours.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeGuard

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.host.files import make_directory, sync_directory, write_file
from inborn.errors import InternalError, NotFoundError, PreconditionError, RequestError, UnavailableError
from inborn_ca.authorities.sealing import MIN_PASSPHRASE, WrongPassphrase, seal, unseal

__all__ = ["MIN_PASSPHRASE", "KeyStore", "UnsafeKeyFile", "WrongPassphrase"]

_MAX_KEY_SIZE = 16 * 1024  # bytes: one for P-256 has 240, encrypted 370
_SUFFIX = ".pem"


class UnsafeKeyFile(PreconditionError):
    """A key's file or directory could have been read or written by others."""


class KeyStore:
    """The keys in one directory, named by subject key identifier. One process uses it at a time."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if it is not there. Raises `UnsafeKeyFile` if others can enter it."""
        self._directory = directory
        try:
            make_directory(directory, mode=0o700)
            found = os.lstat(directory)
        except OSError as e:
            raise UnavailableError(f"directory of keys {directory} cannot be used: {e.strerror}") from e
        if not stat.S_ISDIR(found.st_mode):
            raise UnsafeKeyFile(f"{directory} is not a directory")
        _check_owner(directory, found)

    def create(self) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        """Make a P-256 key, and return it with its identifier once it is durable."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(key), key

    def load(self, key_id: bytes) -> ec.EllipticCurvePrivateKey:
        """An authority's key. Raises `NotFoundError`, `UnsafeKeyFile`, `InternalError` for what is no P-256 key."""
        path = self._path(key_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NotFoundError(
                f"key {key_id.hex()} is not in {self._directory}",
                hint="put the old keys back, or restore a backup that has them: inborn ca restore",
            ) from None
        except OSError as e:
            raise UnavailableError(f"key {key_id.hex()} cannot be read: {e.strerror}") from e
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeKeyFile(f"{path} is not a regular file")
            _check_owner(path, found)
            pem = file.read(_MAX_KEY_SIZE)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise InternalError(f"{path} does not hold a private key") from e
        if not _is_p256(key):
            raise InternalError(f"{path} holds a key that is not P-256")
        if _identifier(key) != key_id:
            raise InternalError(f"{path} holds another key: {_identifier(key).hex()}")
        return key

    def has(self, key_id: bytes) -> bool:
        """Whether a file is there for this key; what stands in it is not looked at."""
        return self._path(key_id).exists()

    def list(self) -> list[bytes]:
        """Identifiers of the keys that are there."""
        names = [path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}")]
        return sorted(bytes.fromhex(name) for name in names if _is_hex(name))

    def delete(self, key_id: bytes) -> None:
        """Remove a key, durably. One that is not there is removed already. The bytes on the disk are not wiped."""
        try:
            self._path(key_id).unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as e:
            raise UnavailableError(f"key {key_id.hex()} cannot be removed: {e.strerror}") from e

    def export_encrypted(self, key_id: bytes, passphrase: bytes) -> bytes:
        """The key, sealed under a passphrase. Raises `RequestError` for one that is too short."""
        plain = self.load(key_id).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return seal(plain, passphrase, key_id)

    def import_encrypted(self, key_id: bytes, data: bytes, passphrase: bytes) -> None:
        """Write a key from `export_encrypted`, if it is the one that `key_id` names.

        Raises `WrongPassphrase`, `RequestError`.
        """
        if len(data) > _MAX_KEY_SIZE:
            raise RequestError(f"encrypted key is larger than {_MAX_KEY_SIZE} bytes: {len(data)}")
        try:
            key = serialization.load_der_private_key(unseal(data, passphrase, key_id), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise WrongPassphrase(f"key {key_id.hex()} cannot be read") from e
        if not _is_p256(key):
            raise RequestError(f"key {key_id.hex()} is not P-256")
        if _identifier(key) != key_id:
            raise RequestError(f"key {key_id.hex()} is another one: {_identifier(key).hex()}")
        self._write(key)

    def _path(self, key_id: bytes) -> Path:
        return self._directory / f"{key_id.hex()}{_SUFFIX}"

    def _write(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        key_id = _identifier(key)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_file(self._path(key_id), pem)
        return key_id


def _identifier(key: ec.EllipticCurvePrivateKey) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def _is_p256(key: object) -> TypeGuard[ec.EllipticCurvePrivateKey]:
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise UnsafeKeyFile(f"{path} belongs to uid {found.st_uid}, not to {os.geteuid()}")
    if found.st_mode & 0o077:
        raise UnsafeKeyFile(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, others could have used it",
            hint=f"if nobody has: chmod go-rwx {path}",
        )


def _is_hex(name: str) -> bool:
    try:
        return bytes.fromhex(name).hex() == name
    except ValueError:
        return False
