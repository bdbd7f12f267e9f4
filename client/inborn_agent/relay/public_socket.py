"""The public end: a UNIX socket at a known path that everybody on the machine may connect to."""

from __future__ import annotations

import errno
import os
import socket
import stat

from inborn.errors import AlreadyExistsError, RequestError, UnavailableError

__all__ = ["PublicSocket", "SocketInUse"]

# sun_path holds 108 bytes, the last one is zero.
MAX_PATH_BYTES = 107

# Connections that wait until the loop comes round to accepting them. The kernel cuts it to net.core.somaxconn.
BACKLOG = 4096


class SocketInUse(AlreadyExistsError):
    """Another program serves the socket."""


class PublicSocket:
    """A listening socket. Made under another name and moved into place, so that nobody ever meets a half-made one.

    A socket left behind by a program that has ended is replaced; one that answers is not, nor is a file of any other
    kind. Not prevented: two programs that start at the very same moment, where the last one wins; the lock of the data
    directory keeps those apart. Nor: somebody who may write to the directory and puts a socket of their own there.
    """

    def __init__(self, path: str, *, mode: int = 0o666) -> None:
        self.path = os.path.abspath(path)
        directory, name = os.path.split(self.path)
        fresh = os.path.join(directory, f".{name[:8]}{os.getpid():x}")
        for candidate in (self.path, fresh):
            if (size := len(os.fsencode(candidate))) > MAX_PATH_BYTES:
                raise RequestError(
                    f"the socket's path has {size} bytes, the kernel allows {MAX_PATH_BYTES}: {candidate}",
                    hint="choose a shorter one",
                )
        _require_free(self.path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if os.path.lexists(fresh):
                os.unlink(fresh)
            self.socket.bind(fresh)
            os.chmod(fresh, mode)
            self.socket.listen(BACKLOG)
            made = os.lstat(fresh)
            self._identity = made.st_dev, made.st_ino
            os.rename(fresh, self.path)
        except OSError as error:
            self.socket.close()
            raise UnavailableError(f"cannot listen on {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Stop listening, and remove the path if it is still this socket's."""
        self.socket.close()
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self.path)
        except FileNotFoundError:
            pass


def _require_free(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnavailableError(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise AlreadyExistsError(f"{path} is there already and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            # Refused: nobody listens. EPROTOTYPE and others: somebody does, in another way. EAGAIN: the queue is full.
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return
        raise SocketInUse(f"another program serves {path}", hint="stop it, or choose another path with --socket")
