"""The admin's client against a socket that answers well, badly, late, or not at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.host import paths
from inborn._internal.rpc.admin_client import AdminClient, CaNotRunning, default_admin_socket
from inborn._internal.wire import admin_methods
from inborn._internal.wire.frames import FrameReader, encode_frame
from inborn.errors import InternalError, NotFoundError, RequestError, UnavailableError
from inborn_proto import admin_pb2, signed_pb2, signer_pb2

Answer = Callable[[signer_pb2.Frame], "list[bytes] | None"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """A socket that answers each frame with the bytes that the function gives; None closes the connection."""
    path = tmp_path / "signer.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def start(answer: Answer) -> Path:
        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    reader = FrameReader()
                    while data := connection.recv(65536):
                        for payload in reader.feed(data):
                            octets = answer(signer_pb2.Frame.FromString(payload))
                            if octets is None:
                                connection.shutdown(socket.SHUT_RDWR)
                                break
                            try:
                                for part in octets:
                                    connection.sendall(part)
                            except BrokenPipeError:  # the client did not wait
                                break

        threading.Thread(target=run, daemon=True).start()
        return path

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def frame(request: signer_pb2.Frame, body: bytes = b"", error: signed_pb2.Error | None = None) -> bytes:
    return encode_frame(signer_pb2.Frame(id=request.id, body=body, error=error).SerializeToString())


def status(request: signer_pb2.Frame) -> list[bytes]:
    assert request.method == "/inborn.admin.v1.Admin/GetStatus"
    return [frame(request, admin_pb2.StatusResponse(trust_domain="example.org").SerializeToString())]


def test_answer_is_the_message_of_the_method(serve: Callable[[Answer], Path]) -> None:
    with AdminClient(serve(status)) as client:
        for _ in range(3):
            answer = client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())
            assert answer.trust_domain == "example.org"


def test_answer_in_small_pieces_is_put_together(serve: Callable[[Answer], Path]) -> None:
    with AdminClient(serve(lambda r: [bytes([b]) for b in status(r)[0]])) as client:
        assert isinstance(client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest()), admin_pb2.StatusResponse)


def test_error_of_the_signer_keeps_its_type_and_hint(serve: Callable[[Answer], Path]) -> None:
    error = signed_pb2.Error(kind="NotFoundError", message="no such entry", hint="list them", status=5)
    with AdminClient(serve(lambda r: [frame(r, error=error)])) as client:
        with pytest.raises(NotFoundError, match="no such entry") as caught:
            client.call(admin_methods.GET_ENTRY, admin_pb2.EntryRequest(id="x"))
    assert caught.value.hint == "list them"


def test_absent_socket_says_how_to_start_a_ca(tmp_path: Path) -> None:
    with pytest.raises(CaNotRunning, match="no CA answers") as caught:
        AdminClient(tmp_path / "none.sock").call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())
    assert "inborn up" in caught.value.hint


def test_socket_that_a_dead_ca_left_behind_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(CaNotRunning):
        AdminClient(path).call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())


@pytest.mark.root
def test_socket_of_another_user_is_denied_and_says_who_may(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    path = tmp_path / "closed" / "signer.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    for parent in list(path.parents)[1:-1]:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    # In a process of its own: a uid cannot be taken on for a while in one thread only.
    code = (
        "import os, sys\n"
        "from inborn._internal.rpc.admin_client import AdminClient\n"
        "from inborn._internal.wire import admin_methods\n"
        "from inborn.errors import DeniedError\n"
        "from inborn_proto import admin_pb2\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    AdminClient(sys.argv[1]).call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())\n"
        "except DeniedError as e:\n"
        "    print(e.message, '|', e.hint)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.stdout == f"no permission to open {path} | admin commands are for root and the CA's own user\n"
    listener.close()


def test_connection_that_ends_without_an_answer_is_unavailable_and_the_next_call_connects_anew(
    serve: Callable[[Answer], Path],
) -> None:
    answers: list[Answer] = [lambda _: None, status]
    with AdminClient(serve(lambda r: answers.pop(0)(r))) as client:
        with pytest.raises(UnavailableError, match="closed the connection"):
            client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())
        assert isinstance(client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest()), admin_pb2.StatusResponse)


def test_late_answer_is_not_taken_for_that_of_the_next_call(serve: Callable[[Answer], Path]) -> None:
    gate = threading.Event()
    count = iter(range(10))

    def answer(request: signer_pb2.Frame) -> list[bytes]:
        n = next(count)
        if n == 0:
            gate.wait(10)
        return [frame(request, admin_pb2.StatusResponse(trust_domain=str(n)).SerializeToString())]

    with AdminClient(serve(answer)) as client:
        with pytest.raises(UnavailableError, match="did not answer in time"):
            client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest(), timeout=0.05)
        gate.set()
        answer2 = client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())
        assert answer2.trust_domain == "1"


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xff\xff\xff",
        encode_frame(b"\xff\xff"),
        encode_frame(signer_pb2.Frame(id=99).SerializeToString()),
        encode_frame(signer_pb2.Frame(id=1, method="/x/y").SerializeToString()),
        encode_frame(signer_pb2.Frame(id=1, body=b"\xff\xff").SerializeToString()),
    ],
    ids=["too long", "no frame", "another's answer", "a request", "not the message"],
)
def test_answer_that_is_none_is_an_internal_error(serve: Callable[[Answer], Path], octets: bytes) -> None:
    with AdminClient(serve(lambda _: [octets])) as client, pytest.raises(InternalError):
        client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())


def test_wrong_request_type_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    client = AdminClient(tmp_path / "none.sock")
    with pytest.raises(RequestError, match="takes a StatusRequest"):
        client.call(admin_methods.GET_STATUS, admin_pb2.EntryRequest())


def test_path_that_no_socket_can_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="longer than 107"):
        AdminClient(tmp_path / ("x" * 200)).call(admin_methods.GET_STATUS, admin_pb2.StatusRequest())


def test_socket_is_found_by_its_own_variable_then_by_the_data_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("INBORN_ADMIN_SOCKET", raising=False)
    monkeypatch.setenv("INBORN_DATA_DIR", str(tmp_path))
    assert default_admin_socket() == tmp_path / "ca" / "admin" / "signer.sock"
    monkeypatch.setenv("INBORN_ADMIN_SOCKET", str(tmp_path / "x.sock"))
    assert default_admin_socket() == tmp_path / "x.sock"


def test_two_data_directories_share_no_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INBORN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    one, two, default = (paths.data_dir(p) for p in (tmp_path / "a", tmp_path / "b", None))
    for path in (paths.workload_socket, paths.admin_socket, paths.agent_admin_socket):
        assert len({path(one), path(two), path(default)}) == 3
