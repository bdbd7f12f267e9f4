"""An identity as files that change all at once: `svid.pem`, `key.pem`, `bundle.pem`, `crl.pem`.

Theory of operation. Each generation of files is written to a directory of its own beside the others; the link
`..data` points at the newest one, and `svid.pem` and the others are links through it. Renaming a new `..data` over the
old one changes all files in one step, and a reader never sees half a file. A reader that wants certificate and key of
one generation opens `..data` first, or reads again if they do not fit. The generation before stays until the next
change, so that a path that somebody is walking does not end in nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inborn._internal.host.files import create_file, make_directory, sync_directory
from inborn.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inborn._internal.source.snapshot import Snapshot
    from inborn._internal.spiffe.x509_svid import X509Svid

__all__ = [
    "BUNDLE_FILE",
    "COMBINED_FILE",
    "CRL_FILE",
    "KEY_FILE",
    "SVID_FILE",
    "FileSet",
    "SecretAccess",
    "crl_issuers",
    "crl_pem",
    "identity_files",
]

SVID_FILE = "svid.pem"
KEY_FILE = "key.pem"
BUNDLE_FILE = "bundle.pem"
CRL_FILE = "crl.pem"
_CRL_END = b"-----END X509 CRL-----\n"
COMBINED_FILE = "combined.pem"
"""Chain and key in one, for programs that want it so (HAProxy), or would read one before and one after a change."""

_SECRETS = frozenset({KEY_FILE, COMBINED_FILE})
_LINK = "..data"
_GENERATION = re.compile(r"\.\.gen-[A-Za-z0-9_]+")


def identity_files(snapshot: Snapshot, svid: X509Svid) -> dict[str, bytes]:
    """The files of one identity: its chain, its key, the bundle of its own trust domain alone, and every CRL."""
    bundle = snapshot.bundles.get(svid.spiffe_id.trust_domain)
    if bundle is None:
        raise RequestError(f"there is no bundle of {svid.spiffe_id.trust_domain}")
    return {
        SVID_FILE: svid.chain_pem(),
        KEY_FILE: svid.key_pem(),
        BUNDLE_FILE: bundle.pem(),
        CRL_FILE: crl_pem(snapshot),
    }


def crl_issuers(pem: bytes) -> list[str]:
    """The common names of the authorities that have made these CRLs. Raises `RequestError` if one cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = pem.split(_CRL_END)[:-1]
    try:
        issuers = [x509.load_pem_x509_crl(part + _CRL_END).issuer for part in parts]
    except ValueError as e:
        raise RequestError("a CRL that was written cannot be read") from e
    return [str(name.value) for issuer in issuers for name in issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]


def crl_pem(snapshot: Snapshot) -> bytes:
    """Every CRL that was given. Raises `RequestError` if one of them is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return b"".join(x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM) for crl in snapshot.crls)
    except ValueError as e:
        raise RequestError("a CRL that was given cannot be read") from e


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretAccess:
    """Who may read the files that hold a key; -1: as the writer's own files are."""

    mode: int = 0o600
    uid: int = -1
    gid: int = -1

    def __post_init__(self) -> None:
        if self.mode & ~0o660 or not self.mode & 0o400:
            raise RequestError(f"mode of a key's file must let its owner read, and no others: {self.mode:o}")


class FileSet:
    """Files in a directory that are replaced together. The directory is made, closed to others, if it is not there."""

    def __init__(self, directory: Path, secrets: SecretAccess | None = None) -> None:
        self.directory = directory
        self._access = secrets or SecretAccess()

    def write(self, files: Mapping[str, bytes]) -> None:
        """Replace all files in one step. Whatever fails leaves the files as they were. Raises `OSError`.

        A key is readable as `SecretAccess` says, by its owner alone unless told otherwise; the rest by whoever can
        enter the directory. A directory that is made here can be entered by others if a key is for one of them.
        """
        is_shared = self._access.uid != -1 or self._access.gid != -1
        make_directory(self.directory, mode=0o711 if is_shared else 0o700)
        with self._locked() as at:
            generation = Path(tempfile.mkdtemp(prefix="..gen-", dir=self.directory))
            try:
                generation.chmod(0o700)  # whatever the umask is
                for name, content in files.items():
                    if name in _SECRETS:
                        access = self._access
                        create_file(generation / name, content, mode=access.mode, uid=access.uid, gid=access.gid)
                    else:
                        create_file(generation / name, content, mode=0o644)
                os.chmod(generation, os.fstat(at).st_mode & 0o755)
                sync_directory(generation)
                previous = self._current()
                self._link(_LINK, generation.name)
            except BaseException:
                shutil.rmtree(generation, ignore_errors=True)
                raise
            for name in files:
                self._link(name, f"{_LINK}/{name}")
            os.fsync(at)
            self._remove_generations(keep={generation.name, previous})

    def remove(self) -> None:
        """Take away all that `write` has made, but not the directory."""
        with self._locked():
            for entry in self.directory.iterdir():
                if entry.is_symlink() and (entry.name == _LINK or os.readlink(entry).startswith(f"{_LINK}/")):
                    entry.unlink()
            self._remove_generations(keep=set())

    def _current(self) -> str:
        try:
            return os.readlink(self.directory / _LINK)
        except OSError:
            return ""

    def _link(self, name: str, target: str) -> None:
        path = self.directory / name
        if path.is_symlink() and os.readlink(path) == target:
            return
        new = self.directory / f"..new-{secrets.token_hex(8)}"
        new.symlink_to(target)
        try:
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise

    def _remove_generations(self, *, keep: set[str]) -> None:
        for entry in self.directory.iterdir():
            if _GENERATION.fullmatch(entry.name) and entry.name not in keep:
                shutil.rmtree(entry, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the directory against other writers."""
        at = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(at, fcntl.LOCK_EX)
            yield at
        finally:
            os.close(at)
