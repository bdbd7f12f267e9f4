"""HAProxy with the generated configuration, told by its runtime socket."""

from __future__ import annotations

import base64
import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from inborn._internal.spiffe.x509_svid import read_certificate
from inborn_cli.servers.followers import HaproxyFollower, PublishedFiles
from inborn_cli.servers.haproxy_runtime import HaproxyRefused, HaproxyRuntime, read_sessions
from inborn_cli.servers.reload import CommandReload
from inborn_cli.servers.revoked_serials import REVOKED_FILE
from tests.inborn_cli.servers.fixtures_servers import (
    SOON,
    Files,
    FilesRig,
    Server,
    backend,
    echo,
    free_port,
    generated,
    http_service,
    running,
    wait_listening,
    wait_status,
)
from tests.rigs import certificates
from tests.rigs.up_rig import wait_until

pytestmark = pytest.mark.needs("haproxy")

A_SECOND = dt.timedelta(seconds=1)
AT_ONCE = 10 * A_SECOND  # milliseconds, where nobody else works


@dataclass
class Haproxy:
    port: int
    files: Files
    socket: Path
    start: Callable[[], Server]
    """Start it anew; the one before is ended."""

    def runtime(self) -> HaproxyRuntime:
        return HaproxyRuntime(self.socket, self.files.directory)

    def contents(self) -> dict[str, bytes]:
        return {
            name: (self.files.directory / name).read_bytes()
            for name in ("crl.pem", "bundle.pem", "combined.pem", REVOKED_FILE)
        }


@contextmanager
def haproxy(
    files_rig: FilesRig, tmp_path: Path, name: str, service: Callable[[socket.socket], None], *, ttl: int = 3600
) -> Iterator[Haproxy]:
    port, runtime = free_port(), files_rig.directory / f"haproxy-{tmp_path.name[-8:]}.sock"
    with (
        backend(service) as behind,
        files_rig.files("--haproxy-socket", str(runtime), "--check", f"127.0.0.1:{port}", ttl=ttl) as files,
    ):
        values = {"haproxy_socket": str(runtime), "backend": f"127.0.0.1:{behind}"}
        (tmp_path / "haproxy.cfg").write_text(generated(name, files.directory, port, **values))
        started: list[Server] = []
        managers = []

        def start() -> Server:
            if started:
                started[-1].process.kill()
                started[-1].process.wait(SOON)
            manager = running(["haproxy", "-db", "-f", tmp_path / "haproxy.cfg"])
            managers.append(manager)
            started.append(manager.__enter__())
            wait_listening(port, started[-1])
            return started[-1]

        try:
            start()
            yield Haproxy(port, files, runtime, start)
        finally:
            for manager in managers:
                manager.__exit__(None, None, None)


@pytest.fixture
def http(files_rig: FilesRig, tmp_path: Path) -> Iterator[Haproxy]:
    with haproxy(files_rig, tmp_path, "haproxy", http_service) as made:
        yield made


@pytest.fixture
def tcp(files_rig: FilesRig, tmp_path: Path) -> Iterator[Haproxy]:
    with haproxy(files_rig, tmp_path, "haproxy-tcp", echo) as made:
        yield made


@pytest.mark.parametrize("by", ["serial", "id"])
def test_revoked_client_is_refused_on_its_open_connection_and_everywhere_else(
    files_rig: FilesRig, http: Haproxy, by: str
) -> None:
    client, other = files_rig.client(), files_rig.client()
    contexts = [client.context(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    kept = [client.connect(http.port, context) for context in contexts]
    bystander = other.connect(http.port)
    assert [connection.get() for connection in (*kept, bystander)] == ["200"] * 3
    sessions = [connection.sock.session for connection in kept]
    since = files_rig.revoke(client, by=by)
    waited = wait_status(kept[0].get, "403", since, "the open connection")
    # A revocation by ID becomes serials with the next CRL, and there is one a second at most.
    assert waited < AT_ONCE
    assert kept[1].get() == "403"
    for context, session in zip(contexts, sessions, strict=True):
        try:
            resumed = client.connect(http.port, context, session)
            assert not resumed.sock.session_reused
            assert resumed.get() in {"403", "refused"}
        except ssl.SSLError:
            pass  # TLS 1.2 says so in the handshake

    assert client.connect(http.port).get() == "403"
    assert bystander.get() == "200"
    assert other.connect(http.port).get() == "200"


def test_open_session_of_a_revoked_client_ends_and_no_others(files_rig: FilesRig, tcp: Haproxy) -> None:
    client, other = files_rig.client(), files_rig.client()
    kept, bystander = client.connect(tcp.port), other.connect(tcp.port)
    assert kept.is_open()
    assert bystander.is_open()
    since = files_rig.revoke(client, by="serial")
    assert kept.sock.recv(1) == b""  # it waits, and says nothing
    assert dt.timedelta(seconds=time.monotonic() - since) < AT_ONCE
    assert bystander.is_open()
    try:
        assert not client.connect(tcp.port).is_open()
    except (ssl.SSLError, ConnectionError):
        pass  # it is said in the handshake


def test_session_that_outlives_its_certificate_is_ended(files_rig: FilesRig, tcp: Haproxy) -> None:
    client = files_rig.client(ttl_seconds=3)
    kept = client.connect(tcp.port)
    assert kept.is_open()
    runtime = tcp.runtime()
    assert runtime.end_sessions(client.svid.facts.not_after - A_SECOND) == 0
    assert kept.is_open()
    assert kept.sock.recv(1) == b""  # `inborn files` looks every few seconds
    assert dt.datetime.now(dt.UTC) > client.svid.facts.not_after


def test_expired_client_is_refused_on_its_open_connection(files_rig: FilesRig, http: Haproxy) -> None:
    client = files_rig.client(ttl_seconds=3)
    connection = client.connect(http.port)
    end = client.svid.facts.not_after
    statuses = [connection.get()]
    while statuses[-1] == "200":
        assert dt.datetime.now(dt.UTC) < end + 5 * A_SECOND  # HAProxy counts whole seconds
        statuses.append(connection.get())
    assert dt.datetime.now(dt.UTC) > end
    assert statuses[-1] == "403"
    assert connection.get() == "403"


def test_haproxy_that_was_started_anew_is_told_what_it_has_not_read(files_rig: FilesRig, http: Haproxy) -> None:
    client = files_rig.client()
    serial = client.svid.facts.serial.hex().upper()
    runtime = http.runtime()
    contents = http.contents()
    contents[REVOKED_FILE] += f"{serial}\n".encode()
    assert runtime.tell(contents, dt.datetime.now(dt.UTC))
    assert client.connect(http.port).get() == "403"
    assert not runtime.tell(contents, dt.datetime.now(dt.UTC))
    http.start()
    assert client.connect(http.port).get() == "200"  # it has read the file
    assert runtime.tell(contents, dt.datetime.now(dt.UTC))
    assert client.connect(http.port).get() == "403"
    contents[REVOKED_FILE] = contents[REVOKED_FILE].replace(f"{serial}\n".encode(), b"")
    assert runtime.tell(contents, dt.datetime.now(dt.UTC))
    assert client.connect(http.port).get() == "200"


def test_thousands_of_serials_fit(files_rig: FilesRig, http: Haproxy) -> None:
    client = files_rig.client()
    contents = http.contents()
    serials = [f"01{number:036X}" for number in range(5000)]
    contents[REVOKED_FILE] += "".join(f"{serial}\n" for serial in serials).encode()
    contents[REVOKED_FILE] += f"{client.svid.facts.serial.hex().upper()}\n".encode()
    http.runtime().tell(contents, dt.datetime.now(dt.UTC))
    assert client.connect(http.port).get() == "403"


def test_rotated_certificate_is_presented_without_a_reload(files_rig: FilesRig, tmp_path: Path) -> None:
    with haproxy(files_rig, tmp_path, "haproxy", http_service, ttl=8) as http:
        client = files_rig.client()
        kept = client.connect(http.port)
        first = kept.sock.getpeercert(binary_form=True)
        wait_until(lambda: client.connect(http.port).sock.getpeercert(binary_form=True) != first, "a rotation", SOON)
        assert kept.get() == "200"
        assert "still presents" not in http.files.server.said


def test_end_of_the_crls_that_it_has_read_is_known(files_rig: FilesRig, http: Haproxy) -> None:
    end = http.runtime().crls_end()
    assert end == min(crl.next_update_utc for crl in crls(http.files.directory / "crl.pem"))


def test_it_is_reloaded_when_its_crls_run_out(files_rig: FilesRig, http: Haproxy, tmp_path: Path) -> None:
    told = tmp_path / "told"
    end = http.runtime().crls_end()
    assert end is not None
    command = CommandReload.parse(f"touch {told}", {"PATH": "/usr/bin:/bin"})
    published = PublishedFiles(directory=http.files.directory, files=http.contents(), leaf=http.files.leaf)
    for ahead, wanted in ((dt.timedelta(hours=7), False), (dt.timedelta(hours=5), True)):
        follower = HaproxyFollower(http.runtime(), reload=command, server=None, clock=lambda at=end - ahead: at)
        follower.tend(published)
        assert told.exists() is wanted


def test_socket_of_somebody_else_is_named(files_rig: FilesRig, http: Haproxy, tmp_path: Path) -> None:
    with pytest.raises(HaproxyRefused, match="no such file"):
        HaproxyRuntime(tmp_path / "gone", tmp_path).tell(http.contents(), dt.datetime.now(dt.UTC))


def crls(path: Path) -> list[x509.CertificateRevocationList]:
    parts = path.read_bytes().split(b"-----END X509 CRL-----\n")[:-1]
    return [x509.load_pem_x509_crl(part + b"-----END X509 CRL-----\n") for part in parts]


def test_what_a_client_says_of_itself_is_not_handed_on(files_rig: FilesRig, tmp_path: Path) -> None:
    """A lying client: the service behind reads who it is from what HAProxy has verified, and from nothing else."""
    told: list[bytes] = []
    with haproxy(files_rig, tmp_path, "haproxy", remembering(told)) as http:
        client = files_rig.client()
        lies = [
            f"{name}: spiffe://example.org/admin"
            for name in ("X-Spiffe-Id", "x_spiffe_id", "X-Client-Cert", "X-Forwarded-Client-Cert", "X-SSL-Client-CN")
        ]
        assert client.connect(http.port).get(*lies) == "200"
    head = b"\n".join(told)
    assert b"admin" not in head
    (line,) = [line for line in head.splitlines() if line.lower().startswith(b"x-client-cert:")]
    certificate = x509.load_der_x509_certificate(base64.b64decode(line.partition(b":")[2]))
    assert read_certificate(certificate).spiffe_id == client.svid.spiffe_id


def test_client_with_a_fresh_certificate_on_the_port_of_a_dead_session_is_left_alone() -> None:
    """Rows of sessions that have ended stay in the table; the port is somebody else's by now."""
    table = (
        "# table: inborn_sessions, type: string, size:102400, used:2\n"
        "0x1: key=01AA/260101120000Z/127.0.0.1:4711 use=0 exp=89000000 shard=0 conn_cur=0\n"
        "0x2: key=01BB/260101130000Z/127.0.0.1:4711 use=1 exp=89000000 shard=0 conn_cur=1\n"
        "0x3: key=01CC/260101120000Z/127.0.0.1:4712 use=1 exp=89000000 conn_cur=2\n"
    )
    assert [(session.serial, session.source, session.is_open) for session in read_sessions(table)] == [
        ("01AA", "127.0.0.1:4711", False),
        ("01BB", "127.0.0.1:4711", True),
        ("01CC", "127.0.0.1:4712", True),
    ]


def test_session_with_a_fresh_certificate_from_the_port_of_a_revoked_one_goes_on(
    files_rig: FilesRig, tcp: Haproxy
) -> None:
    revoked, fresh = files_rig.client(), files_rig.client()
    port = free_port()
    first = revoked.connect(tcp.port, source_port=port)
    assert first.is_open()
    first.close()
    contents = tcp.contents()
    contents[REVOKED_FILE] += f"{revoked.svid.facts.serial.hex().upper()}\n".encode()
    second = fresh.connect(tcp.port, source_port=port)
    assert second.is_open()
    runtime = tcp.runtime()
    runtime.tell(contents, dt.datetime.now(dt.UTC))
    assert runtime.end_sessions(dt.datetime.now(dt.UTC)) == 0
    assert second.is_open()


def test_it_is_reloaded_for_the_crl_of_an_authority_that_is_new(
    files_rig: FilesRig, http: Haproxy, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    command = CommandReload.parse(f"touch {told}", {"PATH": "/usr/bin:/bin"})
    contents = http.contents()
    follower = HaproxyFollower(http.runtime(), reload=command, server=None)
    published = PublishedFiles(directory=http.files.directory, files=contents, leaf=http.files.leaf)
    follower.tend(published)
    assert not told.exists()
    root = certificates.make_root(now=dt.datetime.now(dt.UTC))
    contents["crl.pem"] += empty_crl(certificates.make_issuing(root, now=dt.datetime.now(dt.UTC)))
    follower.tend(PublishedFiles(directory=http.files.directory, files=contents, leaf=http.files.leaf))
    assert told.exists()


def remembering(told: list[bytes]) -> Callable[[socket.socket], None]:
    """A service that keeps the heads of its requests."""

    def serve(connection: socket.socket) -> None:
        buffered = b""
        while piece := connection.recv(65536):
            buffered += piece
            while b"\r\n\r\n" in buffered:
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                told.append(head)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    return serve


def empty_crl(authority: certificates.Credential) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    crl = builder.last_update(now).next_update(now + dt.timedelta(days=1)).sign(authority.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.PEM)
