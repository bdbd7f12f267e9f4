"""The data directory as the supervisor keeps it: one holder at a time, the same ports at each start.

lock           held by the supervisor and inherited by who writes below; names the holder
ports.json     the ports that were chosen at the first start
trust-domain   the name that was made up at the first start, until the signer has it in its database
ca/  agent/    of signer and agent
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import stat
from pathlib import Path

from inborn._internal.host.directory_lock import DirectoryLock
from inborn._internal.host.files import make_directory, write_file
from inborn.errors import DeniedError, PreconditionError, RequestError
from inborn_ca.store.place import exists as store_exists

__all__ = ["DataDirectory"]

HOLDER_DYING_TIME = 5.0  # seconds that processes of a killed supervisor have to be gone
PORT_RANGE = range(20_000, 32_000)  # below 32768, where Linux takes the ports of outgoing connections from
_PORT_ATTEMPTS = 200


class DataDirectory:
    """A data directory that is ours until the process ends."""

    def __init__(self, path: Path, lock: DirectoryLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path, *, is_shared: bool) -> DataDirectory:
        """Make it if need be, and lock it. Others may pass through one that we make, to the Workload API's socket,
        and see nothing; `is_shared`: also through one that was there, because a part of it belongs to another user.

        Raises `DirectoryInUse`, which names the holder, `DeniedError`, and `RequestError` for a directory in which
        another user could put something in our way. Not checked: the directories above it.
        """
        try:
            make_directory(path, mode=0o711)
            _require_own(path)
            if is_shared:
                path.chmod(path.stat().st_mode | 0o111)
            lock = DirectoryLock(
                path, patience=HOLDER_DYING_TIME, hint="stop it, or choose another directory with --data-dir"
            )
        except PermissionError as e:
            raise DeniedError(f"no permission to write in {path}", hint="--data-dir names another directory") from e
        except (FileExistsError, NotADirectoryError) as e:
            raise RequestError(f"{path} is not a directory") from e
        return cls(path, lock)

    @property
    def lock_fd(self) -> int:
        """For those who write below: the directory is held until the last of them has ended."""
        return self._lock.descriptor

    @property
    def has_ca(self) -> bool:
        return store_exists(self.path / "ca")

    def ports(self, host: str, wanted: dict[str, int]) -> dict[str, int]:
        """A port for each name: the one that is wanted, else the one that was kept, else a free one; all are kept."""
        kept = self._kept_ports()
        ports = {name: port or kept.get(name, 0) for name, port in wanted.items()}
        for name, port in ports.items():
            if not port:
                ports[name] = _free_port(host, taken=set(ports.values()))
        if ports != kept:
            write_file(self.path / "ports.json", (json.dumps({**kept, **ports}, indent=2) + "\n").encode())
        return ports

    def _kept_ports(self) -> dict[str, int]:
        path = self.path / "ports.json"
        try:
            kept = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as e:
            raise PreconditionError(f"{path} is not JSON", hint="delete it: new ports are chosen then") from e
        if not isinstance(kept, dict) or not all(type(p) is int and 0 < p < 65536 for p in kept.values()):
            raise PreconditionError(f"{path} holds something else than ports", hint="delete it")
        return kept

    def first_trust_domain(self) -> str:
        """The name that the first start gave itself, made now if there is none; "" once the CA has one."""
        path = self.path / "trust-domain"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            pass
        if self.has_ca:
            return ""
        name = f"td-{os.urandom(4).hex()}.internal"
        write_file(path, f"{name}\n".encode())
        return name

    def trust_domain_is_kept(self) -> None:
        """The signer has the name in its database: ours is of no use any more."""
        (self.path / "trust-domain").unlink(missing_ok=True)

    def part(self, name: str, owner: tuple[int, int]) -> Path:
        """The directory of one part, 0700, with all in it the owner's (uid, gid): another one than at the last start
        may run it now. Only root can give things away; for everybody else it is left as it is."""
        path = self.path / name
        make_directory(path, mode=0o700)
        if os.geteuid() == 0:
            # By descriptors: whoever owned the part until now may put a link in the place of a directory meanwhile.
            for _, _, files, at in os.fwalk(path):
                if os.fstat(at).st_uid != owner[0]:
                    os.fchown(at, *owner)
                for file in files:
                    found = os.stat(file, dir_fd=at, follow_symlinks=False)
                    # A second name may be somebody's way to be given a file that lies elsewhere.
                    if found.st_uid != owner[0] and found.st_nlink == 1:
                        os.chown(file, *owner, dir_fd=at, follow_symlinks=False)
        return path


def _require_own(path: Path) -> None:
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise RequestError(
            f"{path} belongs to uid {found.st_uid}, who could replace what is in it",
            hint="name a directory of your own with --data-dir",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RequestError(
            f"{path} can be written to by others (mode {stat.S_IMODE(found.st_mode):04o}), who could replace what is "
            "in it",
            hint=f"`chmod go-w {path}`, or name a directory in it: --data-dir {path / 'inborn'}",
        )


def _free_port(host: str, taken: set[int]) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_PORT_ATTEMPTS):
        port = random.choice(PORT_RANGE)
        if port in taken:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as e:
                if e.errno == errno.EADDRINUSE:
                    continue
                raise RequestError(f"cannot listen on {host}: {e.strerror}") from e
        return port
    raise PreconditionError(f"no free port on {host} from {PORT_RANGE.start} to {PORT_RANGE.stop - 1}")
