"""Files that are whole or not there: written beside their place, synced and renamed; read back only if unaltered.

The one way in which anything of ours is written durably: keys, databases, backups, identities, caches, ports.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from inborn.errors import AlreadyExistsError, RequestError, UnavailableError

__all__ = [
    "CorruptFile",
    "create_file",
    "make_directory",
    "new_file",
    "private_directory",
    "read_sealed",
    "set_aside",
    "sync_directory",
    "write_file",
    "write_sealed",
]

_SEAL = b"inborn sealed 1\n"
_MAX_SIZE = 256 * 1024 * 1024  # bytes: a million revoked certificates take forty million


class CorruptFile(RequestError):
    """A file was not written by this program, or not to its end."""


def create_file(
    path: Path,
    data: bytes | Sequence[bytes] = b"",
    *,
    mode: int = 0o600,
    uid: int = -1,
    gid: int = -1,
    is_durable: bool = True,
) -> None:
    """Make a file that is not there yet, with this mode and owner whatever the umask is; `data` may come in pieces.

    Nothing that lies there is followed, opened or replaced: links least of all. Durable is what stands in the file; its
    name is once its directory is synced. Raises `FileExistsError`, and `OSError`; nothing is left behind then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            if (uid, gid) != (-1, -1):
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)  # after the change of owner, which takes bits away
            for piece in _pieces(data):
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            if is_durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def write_file(path: Path, data: bytes | Sequence[bytes], *, is_durable: bool = True) -> None:
    """Replace the file with `data`, readable by its owner alone. `is_durable`: it survives a loss of power.

    One writer of a path at a time. What a writer that was killed has left beside it is replaced. Raises
    `UnavailableError` (the disk is full, or no longer writable); the old file is there then.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        create_file(fresh, data, is_durable=is_durable)
        try:
            os.rename(fresh, path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        if is_durable:
            sync_directory(path.parent)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror}", hint="is the disk full?") from error


@contextlib.contextmanager
def new_file(path: Path, *, leftovers: Sequence[str] = ()) -> Iterator[Path]:
    """For a file that a library writes, as SQLite does: an empty one of our own to write to, which at the end becomes
    `path`, durably, and never replaces what is there. `leftovers` are endings of files that its writer makes beside it.

    Raises `AlreadyExistsError`, `UnavailableError`, and what the block raises; nothing is left behind then.
    """
    partial = path.with_name(f"{path.name}.partial")
    beside = [Path(f"{partial}{ending}") for ending in ("", *leftovers)]
    with _written(path):
        if os.path.lexists(path):
            raise FileExistsError
        for leftover in beside:  # of one that was killed: SQLite would take another file's log for its own
            leftover.unlink(missing_ok=True)
        create_file(partial)
    try:
        yield partial
        with _written(path):
            _sync_file(partial)
            os.link(partial, path)  # which refuses to replace what somebody has put there meanwhile
            sync_directory(path.parent)
    finally:
        for leftover in beside:
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise AlreadyExistsError(f"{path} is there already") from error
    except OSError as error:
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
        raise CorruptFile(f"{path} is no regular file of this user, or larger than {_MAX_SIZE} bytes")
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


def make_directory(path: Path, *, mode: int) -> bool:
    """Make the directory, with this mode whatever the umask is, and what is missing above it. False: it is there, and
    left as it is. Raises `OSError`."""
    if not path.parent.exists():
        _make_parent(path.parent)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        return False
    path.chmod(mode)
    return True


def private_directory(path: Path) -> Path:
    """Make the directory, or take one that is there if it is this user's, and close it to all others (0700).

    Raises `RequestError` for one that belongs to somebody else, `UnavailableError` if it cannot be made.
    """
    try:
        make_directory(path, mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise RequestError(f"{path} is not a directory of uid {os.geteuid()}, who runs this")
        if stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise UnavailableError(f"cannot make {path}: {error.strerror}") from error
    return path


def sync_directory(path: Path) -> None:
    """What was made, renamed or removed in it survives a loss of power. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_parent(path: Path) -> None:
    """As the umask says, but never closed to ourselves."""
    if not path.parent.exists():
        _make_parent(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        return
    made = stat.S_IMODE(path.stat().st_mode)
    if made & 0o700 != 0o700:
        path.chmod(made | 0o700)
