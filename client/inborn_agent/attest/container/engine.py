"""A client for the Docker Engine API over its UNIX socket, as small as attestation needs: GET, no cache, no retry.

Blocking; call it in a worker thread. Podman serves the same API (`podman system service`).
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from inborn._internal.process.peer_credentials import peer_credentials
from inborn.errors import DeniedError, UnavailableError

__all__ = ["Container", "EngineClient", "EngineError", "UntrustedEngine", "parse_container"]

# An inspected container takes some 8 KiB; one with thousands of labels a few hundred.
MAX_REPLY_BYTES = 1 << 20

# An engine answers an inspect within a millisecond. One that hangs must not hold a worker thread for long.
TIMEOUT = 2.0

_ID = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class EngineError(UnavailableError):
    """The engine did not answer, or not what the API says."""


class UntrustedEngine(DeniedError):
    """Whoever serves the engine's socket is not the user whose word counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What an engine says about a running container.

    `pid` is its first process, as the machine's first PID namespace counts. `image_digest` is that of the image's
    configuration, computed by the engine; `image`, `labels` and `env` are the words of whoever started the container
    or built the image.
    """

    id: str
    pid: int
    started_at: str
    image_digest: str
    image: str
    labels: Mapping[str, str]
    env: tuple[str, ...]


class EngineClient:
    """Asks one engine. Only a socket served by `owner_uid` is asked at all.

    That check is what makes the answers worth anything: any user can serve a socket that speaks the engine's API. An
    engine that is not root's may say of its user's containers whatever that user likes, digests of images included.
    """

    def __init__(
        self, socket_path: str = "/var/run/docker.sock", *, owner_uid: int = 0, timeout: float = TIMEOUT
    ) -> None:
        self.socket_path = socket_path
        self.owner_uid = owner_uid
        self._timeout = timeout

    def container(self, id_: str) -> Container | None:
        """Inspect one container; None if the engine does not know it or it does not run.

        Raises `EngineError` and `UntrustedEngine`.
        """
        if not _ID.fullmatch(id_):
            raise EngineError(f"{id_[:80]!a} is not a container id")
        status, body = self._get(f"/containers/{id_}/json")
        if status == http.client.NOT_FOUND:
            return None
        if status != http.client.OK:
            raise EngineError(f"the engine at {self.socket_path} answered {status} to an inspect")
        container = parse_container(body)
        if container is not None and container.id != id_:
            raise EngineError(f"the engine was asked for container {id_[:12]} and answered for {container.id[:12]}")
        return container

    def _get(self, path: str) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout
        connection = _Connection(self.socket_path, self.owner_uid, self._timeout)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = bytearray()
            # read1 returns after one read of the socket, so that a trickle of bytes meets the deadline too.
            while part := response.read1(65536):
                body += part
                if len(body) > MAX_REPLY_BYTES:
                    raise EngineError(f"the engine's answer is longer than {MAX_REPLY_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise EngineError(f"the engine's answer took longer than {self._timeout:g} s")
            return response.status, bytes(body)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise EngineError(f"the engine at {self.socket_path} does not answer: {reason}") from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, owner_uid: int, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path
        self._owner_uid = owner_uid

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
            # Of the process that called listen(): who owns the path could change between looking and connecting.
            uid = peer_credentials(sock).uid
            if uid != self._owner_uid:
                raise UntrustedEngine(
                    f"the engine's socket {self._path} is served by uid {uid}, only uid {self._owner_uid} is believed",
                    hint="name the uid of a rootless engine explicitly to believe it",
                )
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def parse_container(body: bytes) -> Container | None:
    """Read an inspected container (pure). None if it does not run; `EngineError` for anything that does not fit."""
    try:
        reply = json.loads(body)
        state, config = _object(reply["State"]), _object(reply["Config"])
        if state["Running"] is not True:
            return None
        labels = {_text(key): _text(value) for key, value in _object(config.get("Labels") or {}).items()}
        env = config.get("Env") or []
        pid = state["Pid"]
        if not isinstance(env, list) or not isinstance(pid, int) or pid <= 0:
            raise ValueError
        container = Container(
            id=_text(reply["Id"]),
            pid=pid,
            started_at=_text(state["StartedAt"]),
            image_digest=_text(reply["Image"]),
            image=_text(config["Image"]),
            labels=labels,
            env=tuple(_text(item) for item in env),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EngineError("the engine's answer is not an inspected container") from error
    if not _ID.fullmatch(container.id) or not _DIGEST.fullmatch(container.image_digest):
        raise EngineError("the engine's answer names no container id or no image digest")
    return container


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
