"""Files that are whole or not there: written beside their place, synced and renamed; read back only if unaltered."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from inborn.errors import AlreadyExistsError, RequestError, UnavailableError

__all__ = [
    "CorruptFile",
    "DirectoryInUse",
    "DirectoryLock",
    "private_directory",
    "read_sealed",
    "set_aside",
    "sync_directory",
    "write_file",
    "write_sealed",
]

_SEAL = b"inborn sealed 1\n"
_MAX_SIZE = 256 * 1024 * 1024  # octets: a million revoked certificates take forty million


class CorruptFile(RequestError):
    """A file was not written by this program, or not to its end."""


class DirectoryInUse(AlreadyExistsError):
    """Another process holds the directory."""


def write_file(path: Path, data: bytes | Sequence[bytes], *, is_durable: bool = True) -> None:
    """Replace the file with `data`, readable by its owner alone; `data` may come in pieces. `is_durable`: it survives a
    loss of power.

    Raises `UnavailableError` (the disk is full, or no longer writable); the old file is there then.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            for piece in _pieces(data):
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            if is_durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(fresh, path)
        if is_durable:
            sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise UnavailableError(f"cannot write {path}: {error.strerror}", hint="is the disk full?") from error


def write_sealed(path: Path, data: bytes | Sequence[bytes], *, is_durable: bool = True) -> None:
    """`write_file`, with a digest before the data. It guards against accidents, not against whoever may write here."""
    digest = hashlib.sha256()
    for piece in _pieces(data):
        digest.update(piece)
    write_file(path, [_SEAL, digest.digest(), *_pieces(data)], is_durable=is_durable)


def _pieces(data: bytes | Sequence[bytes]) -> Sequence[bytes]:
    return [data] if isinstance(data, bytes) else data


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote; None if there is no such file. Raises `CorruptFile`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error.strerror}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0) or found.st_size > _MAX_SIZE:
        os.close(descriptor)
        raise CorruptFile(f"{path} is no regular file of this user, or larger than {_MAX_SIZE} octets")
    with open(descriptor, "rb") as file:
        content = file.read(_MAX_SIZE)
    head = len(_SEAL) + hashlib.sha256().digest_size
    data = content[head:]
    if content[: len(_SEAL)] != _SEAL or content[len(_SEAL) : head] != hashlib.sha256(data).digest():
        raise CorruptFile(f"{path} is cut off or altered")
    return data


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used, so that somebody can look at it; the last one of its name stays."""
    aside = path.with_name(path.name + ".corrupt")
    os.replace(path, aside)
    return aside


def private_directory(path: Path) -> Path:
    """Make the directory, or take one that is there if it is this user's and closed to all others.

    Raises `RequestError` for one that belongs to somebody else, `UnavailableError` if it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise RequestError(f"{path} is not a directory of uid {os.geteuid()}, who runs this")
        if found.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise UnavailableError(f"cannot make {path}: {error.strerror}") from error
    return path


class DirectoryLock:
    """Holds a directory for one process, until it ends. Raises `DirectoryInUse`."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise DirectoryInUse(
                f"another process runs on {directory}", hint="stop it, or choose another directory"
            ) from error

    def release(self) -> None:
        os.close(self._descriptor)


def sync_directory(path: Path) -> None:
    """What was made, renamed or removed in it survives a loss of power. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
