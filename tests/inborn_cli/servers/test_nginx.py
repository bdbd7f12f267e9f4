"""nginx with the generated configuration and with files that `inborn files` keeps."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from inborn_proto import admin_pb2
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
    wait_status,
)
from tests.rigs.up_rig import wait_until

pytestmark = pytest.mark.needs("nginx")

A_SECOND = dt.timedelta(seconds=1)
AT_ONCE = 10 * A_SECOND  # milliseconds, where nobody else works


@dataclass
class Nginx:
    server: Server
    port: int
    files: Files


@contextmanager
def nginx(files_rig: FilesRig, tmp_path: Path, *, ttl: int = 3600, edit: tuple[str, str] = ("", "")) -> Iterator[Nginx]:
    """nginx as the generated configuration and its comments say."""
    port, pid_file, auth = free_port(), tmp_path / "nginx.pid", files_rig.directory / f"auth-{tmp_path.name[-8:]}.sock"
    group = ["--group", "www-data"] if os.geteuid() == 0 else []
    arguments = ["--reload-signal", "HUP", "--reload-pid-file", str(pid_file), "--auth-socket", str(auth), *group]
    user = "user www-data; " if os.geteuid() == 0 else ""
    with (
        backend(http_service) as service,
        files_rig.files(*arguments, "--check", f"127.0.0.1:{port}", ttl=ttl) as files,
    ):
        values = {"auth_socket": str(auth), "backend": f"127.0.0.1:{service}"}
        text = generated("nginx", files.directory, port, **values)
        (tmp_path / "inborn.conf").write_text(text.replace(*edit) if edit[0] else text)
        (tmp_path / "nginx.conf").write_text(
            f"{user}daemon off; worker_processes 2; pid {pid_file}; error_log stderr; worker_shutdown_timeout 5s;\n"
            f"events {{}}\nhttp {{ access_log off; include {tmp_path}/inborn.conf; }}\n"
        )
        with running(["nginx", "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", "stderr"]) as server:
            wait_listening(port, server)
            yield Nginx(server, port, files)


@pytest.fixture
def front(files_rig: FilesRig, tmp_path: Path) -> Iterator[Nginx]:
    with nginx(files_rig, tmp_path) as made:
        yield made


def test_revoked_client_is_refused_on_its_open_connection_and_everywhere_else(
    files_rig: FilesRig, front: Nginx
) -> None:
    client, other = files_rig.client(), files_rig.client()
    contexts = [client.context(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    kept = [client.connect(front.port, context) for context in contexts]
    assert [connection.get() for connection in kept] == ["200", "200"]
    assert other.connect(front.port).get() == "200"
    sessions = [connection.sock.session for connection in kept]
    since = files_rig.revoke(client)
    refused = {"403", "refused"}  # after its reload nginx closes connections that wait for a request
    waited = wait_status(lambda: "yes" if kept[0].get() in refused else "", "yes", since, "the open connection")
    assert waited < AT_ONCE
    assert kept[1].get() in refused
    # By its CRL nginx refuses a new one with 400, as soon as it has read it.
    assert wait_status(lambda: client.connect(front.port).get(), "400", since, "a new connection") < AT_ONCE
    for context, session in zip(contexts, sessions, strict=True):
        resumed = client.connect(front.port, context, session)
        assert not resumed.sock.session_reused
        assert resumed.get() in {"400", "403"}
    assert other.connect(front.port).get() == "200"


def test_every_kind_of_revocation_counts_on_the_next_request_of_an_open_connection(
    files_rig: FilesRig, tmp_path: Path
) -> None:
    with nginx(files_rig, tmp_path, edit=("ssl_crl ", "# ssl_crl ")) as front:  # auth_request alone
        pid_file = tmp_path / "nginx.pid"
        for request in ("serial", "key", "spiffe_id", "id_prefix"):
            pid_file.rename(tmp_path / "gone")  # no reload comes between
            client = files_rig.client()
            connection = client.connect(front.port)
            assert connection.get() == "200"
            facts = client.svid.facts
            value = {
                "serial": facts.serial.hex(),
                "key": facts.key_hash.hex(),
                "spiffe_id": str(facts.spiffe_id),
                "id_prefix": str(facts.spiffe_id),
            }[request]
            files_rig.machine.ask("Revoke", admin_pb2.RevokeRequest(**{request: value}))
            since = time.monotonic()
            assert wait_status(connection.get, "403", since, f"revoked by {request}") < AT_ONCE
            assert client.connect(front.port).get() == "403"
            (tmp_path / "gone").rename(pid_file)


def test_what_the_client_says_of_itself_does_not_count(files_rig: FilesRig, front: Nginx) -> None:
    client, other = files_rig.client(), files_rig.client()
    connection = client.connect(front.port)
    since = files_rig.revoke(client)
    wait_status(connection.get, "403", since, "the open connection")
    pem = (other.directory / "svid.pem").read_text().replace("\n", "%0A").replace(" ", "%20")
    assert client.connect(front.port).get(f"X-Client-Cert: {pem}", "X-Client-Verify: SUCCESS") in {"400", "403"}


def test_nobody_gets_in_while_nobody_answers(files_rig: FilesRig, front: Nginx) -> None:
    client = files_rig.client()
    assert client.connect(front.port).get() == "200"
    assert front.files.server.end() == 0
    assert client.connect(front.port).get() == "500"


def test_client_that_has_expired_is_refused_on_its_open_connection(files_rig: FilesRig, front: Nginx) -> None:
    front.files.server.wait_for("told")
    client = files_rig.client(ttl_seconds=3)
    connection = client.connect(front.port)
    statuses: list[str] = []
    while (now := dt.datetime.now(dt.UTC)) <= client.svid.facts.not_after or statuses[-1] == "200":
        assert now < client.svid.facts.not_after + 5 * A_SECOND, statuses[-3:]
        statuses.append(connection.get())
        if statuses[-1] == "refused":  # a worker from before the first reload
            connection = client.connect(front.port)
    assert set(statuses) <= {"200", "refused", "403"}
    assert statuses[-1] == "403"


def test_rotated_certificate_is_presented_and_seen_to_be(files_rig: FilesRig, tmp_path: Path) -> None:
    with nginx(files_rig, tmp_path, ttl=8) as front:
        client = files_rig.client()
        first = client.connect(front.port).sock.getpeercert(binary_form=True)
        wait_until(lambda: client.connect(front.port).sock.getpeercert(binary_form=True) != first, "a rotation", SOON)
        assert "still presents" not in front.files.server.said


def test_server_that_is_not_told_is_named(files_rig: FilesRig, tmp_path: Path) -> None:
    with nginx(files_rig, tmp_path, ttl=4) as front:
        (tmp_path / "nginx.pid").write_text("no pid")
        front.files.server.wait_for("names no process: b'no pid'; trying again")
