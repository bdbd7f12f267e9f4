"""PostgreSQL and psql with certificates instead of passwords: the server wants a CN, the client a host name."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.rig import PATIENCE, Files, System, alias, free_port, run
from tests.rigs.fixtures_up import wait_for_paths
from tests.rigs.up_rig import wait_until

SERVER, CLIENT, BYSTANDER = "/pg/server", "/pg/client", "/pg/bystander"
DEBIAN = "/usr/lib/postgresql"  # Debian keeps the server's programs out of PATH


def programs() -> Path:
    """Where initdb and postgres are."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path(DEBIAN).glob("*/bin"), reverse=True)
    for directory in found:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    pytest.skip("needs initdb, postgres: PostgreSQL's server is not installed")


@dataclass
class Server:
    """A PostgreSQL that lets in whoever has a certificate with the CN of the user."""

    root: Path
    port: int
    user: str | None  # PostgreSQL refuses to run as root
    process: subprocess.Popen[bytes] | None = None

    def take_files(self, system: System, directory: Path) -> Files:
        """What the administrator's hook does after each change: fetch, and give the server its key."""
        files = system.write(directory, "server")
        for name in (files.svid, files.key, files.bundle, files.crl):
            target = self.root / Path(name).name
            shutil.copy(name, target)
            target.chmod(0o600)
            if self.user is not None:
                shutil.chown(target, self.user)
        return files

    def start(self) -> None:
        where = programs()
        # By a program that becomes the user: Python would have to fork for that, which gRPC's threads do not stand.
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"] if self.user else []
        made = run(
            *(*become, str(where / "initdb"), "-D", str(self.root / "data"), "-A", "trust", "-U", "app"),
            *("--no-sync", "-E", "UTF8", "--no-locale"),
            cwd=self.root,
        )
        assert made.returncode == 0, made.stderr
        (self.root / "data" / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 cert\n", encoding="ascii")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": self.root / "svid.pem",
            "ssl_key_file": self.root / "key.pem",
            "ssl_ca_file": self.root / "bundle.pem",
            "ssl_crl_file": self.root / "crl.pem",
        }
        command = [*become, str(where / "postgres"), "-D", str(self.root / "data"), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.root / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)
        wait_until(lambda: "ready to accept connections" in self.log(), "PostgreSQL serves", PATIENCE)

    def log(self) -> str:
        return (self.root / "log").read_text(encoding="utf-8", errors="replace")

    def ask(self, files: Files, *, name: str = alias(SERVER), user: str = "app") -> subprocess.CompletedProcess[str]:
        """psql that pins the server by its alias and checks its CRL."""
        words = {
            "host": name,
            "hostaddr": "127.0.0.1",
            "port": self.port,
            "user": user,
            "dbname": "postgres",
            "sslmode": "verify-full",
            "sslrootcert": files.bundle,
            "sslcrl": files.crl,
            "sslcert": files.svid,
            "sslkey": files.key,
        }
        query = "select current_user, version, client_serial from pg_stat_ssl where pid = pg_backend_pid()"
        return run("psql", "-AtX", " ".join(f"{key}={value}" for key, value in words.items()), "-c", query)


@pytest.fixture
def server() -> Iterator[Server]:
    """In a directory of its own that the server's user can enter."""
    programs()
    user = None
    if os.geteuid() == 0:
        user = "postgres"
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip("needs postgres: there is no such user")
    with tempfile.TemporaryDirectory(prefix="inborn-pg-") as directory:
        root = Path(directory)
        if user is not None:
            shutil.chown(root, user)
        made = Server(root, free_port(), user)
        try:
            yield made
        finally:
            if made.process is not None:
                made.process.send_signal(signal.SIGQUIT)
                made.process.wait(PATIENCE)


@pytest.mark.needs("psql")
def test_certificates_open_the_database_and_a_revoked_one_does_not(
    system: System, server: Server, tmp_path: Path
) -> None:
    system.entry(SERVER, hint="server")
    system.entry(CLIENT, hint="client", common_name="app")
    system.entry(BYSTANDER, hint="bystander", common_name="app")
    with system.machine.source() as source:
        wait_for_paths(source, SERVER, CLIENT, BYSTANDER)
        client = system.write(tmp_path / "client", "client")
        bystander = system.write(tmp_path / "bystander", "bystander")
        server.take_files(system, tmp_path / "server")
        server.start()
        assert_in(server.ask(client))
        assert_out(server.ask(client, name=alias(CLIENT)), "does not match host name")
        assert_out(server.ask(client, user="somebody"), "certificate authentication failed")
        assert_out(server.ask(Files(tmp_path / "server")), "certificate authentication failed")  # it has no CN

        system.revoke(CLIENT, source)
        server.take_files(system, tmp_path / "server")
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.ask(client).returncode != 0, "the refusal", PATIENCE)
        assert_out(server.ask(client), "revoked")
        assert_in(server.ask(bystander))


def assert_in(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stdout.startswith("app|TLSv1.3|"), done.stderr


def assert_out(done: subprocess.CompletedProcess[str], why: str) -> None:
    assert done.returncode != 0
    assert why in done.stderr
