"""Envoy with the generated configuration, and secrets by SDS from files that `inborn files` keeps."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.inborn_cli.servers.fixtures_servers import (
    SOON,
    Files,
    FilesRig,
    Server,
    backend,
    free_port,
    generated,
    http_service,
    running,
    wait_listening,
)
from tests.rigs.up_rig import wait_until

# From the package index it lies beside the interpreter, whose directory need not be on PATH.
ENVOY = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(ENVOY is None, reason="needs envoy: neither on PATH nor beside the interpreter")

A_SECOND = dt.timedelta(seconds=1)


@dataclass
class Envoy:
    server: Server
    port: int
    files: Files


@contextmanager
def envoy(
    files_rig: FilesRig, tmp_path: Path, service: Callable[[socket.socket], None], *, ttl: int = 3600
) -> Iterator[Envoy]:
    port = free_port()
    with backend(service) as behind, files_rig.files(ttl=ttl) as files:
        values = {"backend": f"127.0.0.1:{behind}", "sds_directory": str(tmp_path)}
        for name, file in (("envoy-svid", "inborn-svid"), ("envoy-trust", "inborn-trust"), ("envoy", "envoy")):
            (tmp_path / f"{file}.yaml").write_text(generated(name, files.directory, port, **values))
        assert ENVOY is not None
        names = ["--service-node", "test", "--service-cluster", "test"]
        command = [ENVOY, "-c", tmp_path / "envoy.yaml", *names, "--use-dynamic-base-id", "--concurrency", "1"]
        with running([*command, "--log-level", "warning"]) as server:
            wait_listening(port, server)
            wait_until(lambda: files_rig.client().connect(port).get() == "200", f"Envoy serves:\n{server.said}", SOON)
            yield Envoy(server, port, files)


def test_rotated_certificate_is_presented_and_no_connection_ends(files_rig: FilesRig, tmp_path: Path) -> None:
    with envoy(files_rig, tmp_path, http_service, ttl=8) as front:
        client = files_rig.client()
        kept = client.connect(front.port)
        first = kept.sock.getpeercert(binary_form=True)
        wait_until(lambda: client.connect(front.port).sock.getpeercert(binary_form=True) != first, "a rotation", SOON)
        assert kept.get() == "200"


def test_revoked_client_is_refused_at_the_next_connection_and_resumes_no_session(
    files_rig: FilesRig, tmp_path: Path
) -> None:
    with envoy(files_rig, tmp_path, http_service) as front:
        client, other = files_rig.client(), files_rig.client()
        contexts = [client.context(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        kept = [client.connect(front.port, context) for context in contexts]
        assert [connection.get() for connection in kept] == ["200", "200"]
        sessions = [connection.sock.session for connection in kept]
        since = files_rig.revoke(client)

        def is_refused() -> bool:
            try:
                return client.connect(front.port).get() == "refused"
            except (ssl.SSLError, ConnectionError):
                return True

        wait_until(is_refused, "a new connection is refused", SOON)
        assert time.monotonic() - since < 5
        for context, session in zip(contexts, sessions, strict=True):
            try:
                resumed = client.connect(front.port, context, session)
                assert not resumed.sock.session_reused
                assert resumed.get() == "refused"
            except (ssl.SSLError, ConnectionError):
                pass  # TLS 1.2 says so in the handshake
        assert other.connect(front.port).get() == "200"


def test_expired_certificate_of_its_own_is_never_presented(files_rig: FilesRig, tmp_path: Path) -> None:
    with envoy(files_rig, tmp_path, http_service, ttl=6) as front:
        client = files_rig.client()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            assert client.connect(front.port).get() == "200"  # its context refuses a certificate that has ended


def test_what_a_client_says_of_itself_is_not_handed_on(files_rig: FilesRig, tmp_path: Path) -> None:
    told: list[bytes] = []

    def remember(connection: socket.socket) -> None:
        buffered = b""
        while piece := connection.recv(65536):
            buffered += piece
            while b"\r\n\r\n" in buffered:
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                told.append(head)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with envoy(files_rig, tmp_path, remember) as front:
        client = files_rig.client()
        told.clear()
        lies = [f"{name}: spiffe://example.org/admin" for name in ("X-Spiffe-Id", "X-Client-Cert")]
        lies += ["X-Forwarded-Client-Cert: URI=spiffe://example.org/admin"]
        assert client.connect(front.port).get(*lies) == "200"
    head = b"\n".join(told).lower()
    assert b"admin" not in head
    assert b"x-forwarded-client-cert: " in head
    assert f"uri={client.svid.spiffe_id}".encode() in head
