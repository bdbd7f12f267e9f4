"""The engine's client: what it believes, and how an engine that misbehaves ends."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn_agent.attest.container.engine import (
    MAX_REPLY_BYTES,
    Container,
    EngineClient,
    EngineError,
    UntrustedEngine,
    parse_container,
)

ID = "7cd5" * 16
DIGEST = "sha256:" + "a606" * 16
INSPECTED = {
    "Id": ID,
    "Image": DIGEST,
    "State": {"Running": True, "Pid": 4711, "StartedAt": "2026-11-24T06:00:00.123456789Z"},
    "Config": {"Image": "app:1", "Labels": {"com.example.team": "payments"}, "Env": ["APP_ENV=prod"]},
}


class FakeEngine:
    """Serves one UNIX socket with one reply for every request."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.reply = b""
        self.holds_connections = False
        self.requests: list[bytes] = []
        self._held: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answers(self, status: str, body: bytes) -> None:
        self.reply = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._held:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            request = b""
            while b"\r\n\r\n" not in request and (part := connection.recv(65536)):
                request += part
            if not request:
                connection.close()
                continue
            self.requests.append(request)
            try:
                connection.sendall(self.reply)
            except OSError:
                pass
            if self.holds_connections:
                self._held.append(connection)
            else:
                connection.close()


@pytest.fixture
def engine(short_directory: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(short_directory / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def client(engine: FakeEngine) -> EngineClient:
    return EngineClient(engine.path, owner_uid=os.geteuid(), timeout=0.2)


def test_a_container_is_asked_for_by_a_plain_get(engine: FakeEngine, client: EngineClient) -> None:
    engine.answers("200 OK", json.dumps(INSPECTED).encode())
    assert client.container(ID) == Container(
        id=ID,
        pid=4711,
        started_at="2026-11-24T06:00:00.123456789Z",
        image_digest=DIGEST,
        image="app:1",
        labels={"com.example.team": "payments"},
        env=("APP_ENV=prod",),
    )
    assert engine.requests[0].startswith(f"GET /containers/{ID}/json HTTP/1.1\r\n".encode())


def test_an_unknown_container_is_none(engine: FakeEngine, client: EngineClient) -> None:
    engine.answers("404 Not Found", b'{"message":"No such container"}')
    assert client.container(ID) is None


@pytest.mark.parametrize("id_", ["", "abc", ID.upper(), ID + "\n", f"../images/{ID}", ID[:63] + "/"])
def test_nothing_but_an_id_is_asked_for(engine: FakeEngine, client: EngineClient, id_: str) -> None:
    with pytest.raises(EngineError, match="is not a container id"):
        client.container(id_)
    assert engine.requests == []


def test_a_socket_of_another_user_is_not_asked(engine: FakeEngine) -> None:
    with pytest.raises(UntrustedEngine, match="only uid 4294967294 is believed"):
        EngineClient(engine.path, owner_uid=4294967294).container(ID)
    assert engine.requests == []


def test_no_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not answer: No such file"):
        EngineClient(str(tmp_path / "none")).container(ID)


def test_a_server_error_is_an_error(engine: FakeEngine, client: EngineClient) -> None:
    engine.answers("500 Internal Server Error", b"{}")
    with pytest.raises(EngineError, match="answered 500"):
        client.container(ID)


def test_an_answer_for_another_container_is_an_error(engine: FakeEngine, client: EngineClient) -> None:
    engine.answers("200 OK", json.dumps(INSPECTED | {"Id": "0" * 64}).encode())
    with pytest.raises(EngineError, match="answered for 000000000000"):
        client.container(ID)


def test_an_endless_answer_is_cut_off(engine: FakeEngine, client: EngineClient) -> None:
    engine.answers("200 OK", b" " * (MAX_REPLY_BYTES + 1))
    with pytest.raises(EngineError, match="longer than"):
        client.container(ID)


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"])
def test_an_engine_that_hangs_is_left(engine: FakeEngine, client: EngineClient, reply: bytes) -> None:
    engine.reply, engine.holds_connections = reply, True
    with pytest.raises(EngineError, match="timed out"):
        client.container(ID)


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"])
def test_an_engine_that_hangs_up_is_an_error(engine: FakeEngine, client: EngineClient, reply: bytes) -> None:
    engine.reply = reply
    with pytest.raises(EngineError):
        client.container(ID)


@pytest.mark.parametrize("running", [False, "true", None, 1])
def test_only_a_running_container_counts(running: object) -> None:
    reply = INSPECTED | {"State": {"Running": running, "Pid": 4711, "StartedAt": ""}}
    assert parse_container(json.dumps(reply).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 100_000,
        b"[" * 100_000,
        b"\xff",
        json.dumps(INSPECTED | {"Id": 7}).encode(),
        json.dumps(INSPECTED | {"Id": "short"}).encode(),
        json.dumps(INSPECTED | {"Image": "app:1"}).encode(),
        json.dumps(INSPECTED | {"Image": DIGEST + "\n"}).encode(),
        json.dumps(INSPECTED | {"State": []}).encode(),
        json.dumps(INSPECTED | {"State": {"Running": True, "Pid": 0, "StartedAt": ""}}).encode(),
        json.dumps(INSPECTED | {"State": {"Running": True, "Pid": "1", "StartedAt": ""}}).encode(),
        json.dumps(INSPECTED | {"State": {"Running": True, "Pid": 1}}).encode(),
        json.dumps(INSPECTED | {"Config": {"Image": "x", "Labels": ["a"]}}).encode(),
        json.dumps(INSPECTED | {"Config": {"Image": "x", "Labels": {"a": 1}}}).encode(),
        json.dumps(INSPECTED | {"Config": {"Image": "x", "Env": "A=b"}}).encode(),
        json.dumps(INSPECTED | {"Config": {"Image": "x", "Env": [1]}}).encode(),
    ],
    ids=range(19),
)
def test_an_answer_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(EngineError):
        parse_container(body)


def test_labels_and_environment_may_be_missing() -> None:
    reply = INSPECTED | {"Config": {"Image": "x", "Labels": None, "Env": None}}
    container = parse_container(json.dumps(reply).encode())
    assert container is not None
    assert (dict(container.labels), container.env) == ({}, ())
