"""Servers that nobody here wrote, with files that `inborn files` keeps; and clients that try to stay."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.host.paths import workload_socket
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_cli.servers.config import configuration
from inborn_cli.workload.identity_files import FileSet, identity_files
from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, spiffe_id, wait_for_snapshot
from tests.rigs.up_rig import environment, wait_until

SOON = 20.0  # seconds: for machines that are swamped
BODY = b"behind\n"


@dataclass
class Server:
    """A program that runs until the test ends; what it says is kept."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.said or self.process.poll() is not None, f"{text!r} in:\n{self.said}", SOON)
        assert text in self.said, self.said

    def end(self) -> int:
        self.process.terminate()
        status = self.process.wait(SOON)
        self.reader.join(SOON)
        return status


@dataclass
class Client:
    """One client's identity as files, in a context of its own."""

    svid: X509Svid
    directory: Path

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        context.check_hostname = False
        context.load_verify_locations(self.directory / "bundle.pem")
        context.load_cert_chain(self.directory / "svid.pem", self.directory / "key.pem")
        return context

    def connect(
        self, port: int, context: ssl.SSLContext | None = None, session: Any = None, *, source_port: int = 0
    ) -> Connection:
        return Connection(port, context or self.context(), session, source_port)


class Connection:
    """A TLS connection. `get` says "refused" where the server ends it instead of answering."""

    def __init__(self, port: int, context: ssl.SSLContext, session: Any = None, source_port: int = 0) -> None:
        plain = socket.socket()
        plain.settimeout(SOON)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind(("127.0.0.1", source_port))
        plain.connect(("127.0.0.1", port))
        self.sock = context.wrap_socket(plain, session=session)

    def get(self, *headers: str) -> str:
        """The status of one request."""
        try:
            lines = ["GET / HTTP/1.1", "Host: service", *headers]
            self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            return self._status()
        except (ssl.SSLError, ConnectionError, EOFError):
            return "refused"

    def _status(self) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._receive()
        head, _, body = head.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self._receive()
        return head.split()[1].decode()

    def _receive(self) -> bytes:
        piece = self.sock.recv(65536)
        if not piece:
            raise EOFError
        return piece

    def is_open(self) -> bool:
        """Whether an echo behind it still answers."""
        try:
            self.sock.sendall(b"x")
            return self.sock.recv(1) == b"x"
        except (ssl.SSLError, OSError):
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()


class FilesRig:
    """One Inborn for all tests of files. Servers and clients have identities of their own names."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        self.directory = directory
        self._count = 0

    @property
    def environment(self) -> dict[str, str]:
        endpoint = f"unix://{workload_socket(self.machine.data_dir)}"
        return environment() | {"SPIFFE_ENDPOINT_SOCKET": endpoint}

    def new_path(self, kind: str) -> str:
        self._count += 1
        return f"/{kind}-{self._count}"

    def client(self, **fields: Any) -> Client:
        """An identity in files; it is not renewed there."""
        path = self.new_path("client")
        self.machine.entry(path, **({"ttl_seconds": 3600} | fields))
        with X509Source(workload_socket(self.machine.data_dir)) as source:
            wait_for_snapshot(source, lambda s: any(svid.spiffe_id.path == path for svid in s.svids), path)
            snapshot = source.snapshot()
        svid = next(svid for svid in snapshot.svids if svid.spiffe_id.path == path)
        directory = self.directory / path.removeprefix("/")
        FileSet(directory).write(identity_files(snapshot, svid))
        return Client(svid, directory)

    def revoke(self, client: Client, *, by: str = "id") -> float:
        """Revoke it; returns the moment at which the CA said that it is done."""
        if by == "id":
            self.machine.revoke(client.svid.spiffe_id.path)
        else:
            serial = client.svid.facts.serial.hex()
            self.machine.ask("Revoke", admin_pb2.RevokeRequest(serial=serial))
        return time.monotonic()

    @contextmanager
    def files(self, *arguments: str, ttl: int = 3600, directory: Path | None = None) -> Iterator[Files]:
        """`inborn files` for a server, whose files are there."""
        path = self.new_path("server")
        hint = path.removeprefix("/")
        entry = self.machine.entry(path, hint=hint, ttl_seconds=ttl)
        directory = directory or self.directory / hint
        command = [sys.executable, "-m", "inborn_cli", "files", str(directory), "--hint", hint, *arguments]
        with running(command, env=self.environment) as server:
            server.wait_for("written to")
            yield Files(server, directory, path, entry)

    def clear(self) -> None:
        for entry in self.machine.ask("ListEntries", admin_pb2.ListEntriesRequest()).entries:
            self.machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=entry.id))


@dataclass
class Files:
    """A running `inborn files`."""

    server: Server
    directory: Path
    path: str
    entry: str

    @property
    def leaf(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert((self.directory / "svid.pem").read_text().split("-----END", 1)[0] + END)


END = "-----END CERTIFICATE-----\n"


@contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[Server]:
    """A program in the foreground."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SOON)
        assert process.stdout is not None
        server.reader.join(SOON)
        process.stdout.close()


def generated(name: str, directory: Path, port: int, **values: str) -> str:
    """Configuration as `inborn config show` prints it."""
    defaults = {
        "directory": str(directory),
        "listen": f"127.0.0.1:{port}",
        "backend": "127.0.0.1:9",
        "auth_socket": f"{directory}.sock",
        "haproxy_socket": f"{directory}.haproxy",
        "sds_directory": "/nowhere",
    }
    return configuration(name, **(defaults | values))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(port: int, server: Server) -> None:
    def answers() -> bool:
        assert server.process.poll() is None, server.said
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(answers, f"port {port} answers\n{server.said}", SOON)


def wait_status(get: Callable[[], str], wanted: str, since: float, what: str) -> dt.timedelta:
    """Until a request has this status; how long after `since` that was."""
    seen = ""

    def has() -> bool:
        nonlocal seen
        seen = get()
        return seen == wanted

    wait_until(has, f"{what}: {wanted}", SOON)
    return dt.timedelta(seconds=time.monotonic() - since)


@contextmanager
def backend(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A service behind a server: `handle` has each connection to itself."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join(SOON)


def echo(connection: socket.socket) -> None:
    """Sends back what it gets."""
    while piece := connection.recv(4096):
        connection.sendall(piece)


def http_service(connection: socket.socket) -> None:
    """Answers each request, and says in its body which SPIFFE ID it was told."""
    buffered = b""
    while piece := connection.recv(4096):
        buffered += piece
        while b"\r\n\r\n" in buffered:
            _, _, buffered = buffered.partition(b"\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))


@pytest.fixture(scope="session")
def files_machine() -> Iterator[FilesRig]:
    """In a directory that other users can enter, as servers have users of their own; short, as sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="inborn-files-"))
    made.chmod(0o755)
    machine = Machine(made / "d")
    try:
        machine.start()
        yield FilesRig(machine, made)
    finally:
        machine.clean_up()
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def files_rig(files_machine: FilesRig) -> Iterator[FilesRig]:
    yield files_machine
    files_machine.clear()


__all__ = ["spiffe_id"]
