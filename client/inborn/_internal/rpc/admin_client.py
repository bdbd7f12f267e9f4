"""Client of the signer's UNIX socket: what the admin's verbs are made of. Blocking.

The kernel tells the signer who asks; there is no other credential. The socket lies in a directory that only root and
the CA's user can enter, and that is also how the client knows whom it talks to.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from google.protobuf.message import DecodeError, Message

from inborn._internal.host import paths
from inborn._internal.wire.admin_methods import AdminMethod
from inborn._internal.wire.frames import FrameReader, FrameTooLarge, encode_frame
from inborn._internal.wire.messages import error_from_message
from inborn.errors import DeniedError, InternalError, RequestError, UnavailableError
from inborn_proto import signer_pb2

__all__ = ["AdminClient", "CaNotRunning", "default_admin_socket"]

DEFAULT_TIMEOUT = 30.0  # seconds; verbs that wait for something name their own
_READ_SIZE = 256 * 1024

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class CaNotRunning(UnavailableError):
    """Nobody answers on the signer's socket."""


def default_admin_socket() -> Path:
    """The socket to ask: INBORN_ADMIN_SOCKET, else the one of the data directory (see `paths`)."""
    named = os.environ.get("INBORN_ADMIN_SOCKET")
    return Path(named).expanduser().absolute() if named else paths.admin_socket()


class AdminClient:
    """One connection, opened when it is first needed; calls from several threads follow one another.

    A call that failed half way is not repeated: it may have happened. The next one connects anew.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_admin_socket()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._reader = FrameReader()
        self._last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(
        self, method: AdminMethod[Request, Response], request: Request, timeout: float = DEFAULT_TIMEOUT
    ) -> Response:
        """Call a method of the Admin service; `timeout` in seconds.

        Raises what the signer raised; `CaNotRunning`; `UnavailableError` when it does not answer in time or goes away
        meanwhile (what was asked may have happened); `DeniedError` when the socket may not be opened.
        """
        if not isinstance(request, method.request):
            raise RequestError(
                f"{method.name} takes a {method.request.DESCRIPTOR.name}, not a {type(request).__name__}"
            )
        deadline = time.monotonic() + timeout
        with self._lock:
            try:
                body = self._exchange(method.name, request.SerializeToString(), deadline)
            except BaseException:  # also Ctrl-C: the rest of the answer must not be taken for the next one's
                self.close()
                raise
        response = method.response()
        try:
            response.ParseFromString(body)
        except DecodeError as e:
            raise InternalError(f"answer of {method.name} is not a {method.response.DESCRIPTOR.name}") from e
        return response

    def _exchange(self, method: str, body: bytes, deadline: float) -> bytes:
        if self._socket is None:
            self._socket = _connect(self.path)
            self._reader = FrameReader()
        self._last_id += 1
        frame = signer_pb2.Frame(id=self._last_id, method=method, body=body)
        try:
            self._wait_until(deadline)
            self._socket.sendall(encode_frame(frame.SerializeToString()))
            answer = self._receive(deadline)
        except TimeoutError as e:
            raise UnavailableError(
                f"the CA at {self.path} did not answer in time",
                hint="its signer hangs or is swamped; what was asked may have happened: look before asking again",
            ) from e
        except OSError as e:
            raise UnavailableError(f"the CA at {self.path} closed the connection", hint="it may have restarted") from e
        if answer.id != self._last_id or answer.method:
            raise InternalError(f"the CA answered request {answer.id} instead of {self._last_id}")
        if answer.HasField("error"):
            raise error_from_message(answer.error)
        return answer.body

    def _receive(self, deadline: float) -> signer_pb2.Frame:
        assert self._socket is not None  # noqa: S101 -- for the type checker: _exchange has connected
        while True:
            self._wait_until(deadline)
            data = self._socket.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError
            try:
                for payload in self._reader.feed(data):
                    return signer_pb2.Frame.FromString(payload)
            except (DecodeError, FrameTooLarge) as e:
                raise InternalError(f"what {self.path} answered is no frame") from e

    def _wait_until(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        assert self._socket is not None  # noqa: S101 -- for the type checker
        self._socket.settimeout(remaining)


def _connect(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > paths.MAX_SOCKET_PATH:
        raise RequestError(
            f"path of the socket is longer than {paths.MAX_SOCKET_PATH} bytes: {path}",
            hint="choose a data directory with a shorter path",
        )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    try:
        connection.connect(os.fspath(path))
    except OSError as e:
        connection.close()
        if e.errno in (errno.EACCES, errno.EPERM):
            raise DeniedError(
                f"no permission to open {path}", hint="admin commands are for root and the CA's own user"
            ) from e
        raise CaNotRunning(
            f"no CA answers at {path}",
            hint="is it running? start it with `inborn up`; another data directory is named by INBORN_DATA_DIR",
        ) from e
    return connection
