"""What `inborn files` does by itself: files, lists, its socket, its beginning and its end."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from inborn_proto import admin_pb2
from tests.inborn_cli.servers.fixtures_servers import SOON, FilesRig, running
from tests.rigs.up_rig import wait_until

FILES = {
    "svid.pem", "key.pem", "bundle.pem", "crl.pem", "combined.pem", "revoked.lst", "revoked-decimal.lst"
}  # fmt: skip


def ask(path: Path, text: str) -> bytes:
    """Say it on the auth socket, and read to the end."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SOON)
        sock.connect(str(path))
        sock.sendall(text.replace("\n", "\r\n").encode())
        answer = b""
        while piece := sock.recv(4096):
            answer += piece
        return answer


def test_files_are_there_and_stay_when_it_is_told_to_end(files_rig: FilesRig) -> None:
    auth = files_rig.directory / "writer.sock"
    with files_rig.files("--auth-socket", str(auth)) as files:
        assert {path.name for path in files.directory.iterdir() if not path.name.startswith("..")} == FILES
        combined = (files.directory / "combined.pem").read_bytes()
        assert combined == (files.directory / "svid.pem").read_bytes() + (files.directory / "key.pem").read_bytes()
        assert stat.S_IMODE((files.directory / "combined.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE(auth.stat().st_mode) == 0o660
        assert (files.directory / "crl.pem").read_bytes().count(b"BEGIN X509 CRL") >= 2  # the root's as well
        assert files.server.end() == 0
    assert not auth.exists()
    assert {path.name for path in files.directory.iterdir()} >= FILES


def test_systemd_is_told_once_the_files_are_there(files_rig: FilesRig, tmp_path: Path) -> None:
    files_rig.machine.entry("/notify", hint="notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0inborn-files-test-" + str(os.getpid()))
        listener.settimeout(SOON)
        environment = files_rig.environment | {"NOTIFY_SOCKET": "@inborn-files-test-" + str(os.getpid())}
        command = [sys.executable, "-m", "inborn_cli", "files", tmp_path / "tls", "--hint", "notify"]
        with running(command, env=environment):
            assert listener.recv(100) == b"READY=1"
            assert (tmp_path / "tls" / "svid.pem").exists()


def test_each_revocation_is_on_the_lists_as_both_kinds_of_program_have_it(files_rig: FilesRig) -> None:
    with files_rig.files() as files:
        for by in ("serial", "id"):
            client = files_rig.client()
            number = client.svid.leaf.serial_number
            files_rig.revoke(client, by=by)
            for name, line in (("revoked.lst", f"{number:038X}"), ("revoked-decimal.lst", str(number))):
                path = files.directory / name
                wait_until(lambda path=path, line=line: line in path.read_text().split(), f"{name} by {by}", SOON)  # type: ignore[misc]


def test_identity_that_is_withdrawn_leaves_its_files_and_revocations_still_come(files_rig: FilesRig) -> None:
    with files_rig.files() as files:
        client = files_rig.client()
        before = (files.directory / "svid.pem").read_bytes()
        files_rig.machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=files.entry))
        files.server.wait_for("stays as it is: no identity")
        files_rig.revoke(client, by="serial")
        serial = client.svid.facts.serial.hex().upper()
        wait_until(lambda: serial in (files.directory / "revoked.lst").read_text(), "the list has it", SOON)
        assert (files.directory / "svid.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GET / HTTP/1.0\n\n", b"403"),
        ("GET / HTTP/1.0\nX-Client-Verify: SUCCESS\nX-Client-Serial: 01\n\n", b"204"),
        ("POST / HTTP/1.0\nContent-Length: 1\n\nx", b"405"),
        ("GET / HTTP/1.1\n\n", b"400"),
        ("GET / HTTP/1.0\nX-Client-Verify: SUCCESS\nX-Client-Serial: 01\nX-Client-Serial: 02\n\n", b"403"),
        ("GET / HTTP/1.0\nX: " + "a" * 20_000 + "\n\n", b"431"),
        ("\x16\x03\x01\n\n", b"400"),
    ],
)
def test_auth_socket_takes_nothing_but_a_proper_question(files_rig: FilesRig, text: str, code: bytes) -> None:
    auth = files_rig.directory / "questions.sock"
    with files_rig.files("--auth-socket", str(auth)):
        assert ask(auth, text).split()[1] == code


def test_socket_of_a_run_that_was_killed_is_taken_over(files_rig: FilesRig) -> None:
    auth = files_rig.directory / "killed.sock"
    with files_rig.files("--auth-socket", str(auth)) as first:
        first.server.process.kill()
        first.server.process.wait(SOON)
        assert auth.exists()
        with files_rig.files("--auth-socket", str(auth)):
            assert ask(auth, "GET / HTTP/1.0\n\n").split()[1] == b"403"
