"""PostgreSQL with the generated configuration and with files that `inborn files` keeps."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from inborn_cli.servers.presented import CheckedServer
from tests.inborn_cli.servers.fixtures_servers import (
    SOON,
    Client,
    Files,
    FilesRig,
    free_port,
    generated,
    running,
    wait_listening,
)
from tests.rigs.up_rig import wait_until

pytestmark = [pytest.mark.root, pytest.mark.needs("psql", "runuser", "openssl")]

PROGRAMS = Path("/usr/lib/postgresql")
A_SECOND = dt.timedelta(seconds=1)


@dataclass
class Postgres:
    port: int
    files: Files

    def psql(self, client: Client, *arguments: str) -> list[str]:
        """A command line for a client."""
        where = f"host=127.0.0.1 port={self.port} user=app dbname=postgres sslmode=verify-ca"
        keys = " ".join(
            f"{option}={client.directory / name}"
            for option, name in (("sslcert", "svid.pem"), ("sslkey", "key.pem"), ("sslrootcert", "bundle.pem"))
        )
        return ["psql", "-XAtq", f"{where} {keys}", *arguments]

    def ask(self, client: Client) -> str:
        """One connection of its own: what it answers, or why not."""
        done = subprocess.run(
            self.psql(client, "-c", "SELECT 'hello'"), capture_output=True, text=True, timeout=SOON, check=False
        )
        return done.stdout.strip() or done.stderr


@contextmanager
def session(postgres: Postgres, client: Client) -> Iterator[subprocess.Popen[str]]:
    """A connection that stays open."""
    process = subprocess.Popen(
        postgres.psql(client),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("SELECT 'open';\n")
        process.stdin.flush()
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def as_postgres(*command: str | Path) -> None:
    done = subprocess.run(
        ["runuser", "-u", "postgres", "--", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr


def sections(text: str) -> tuple[str, str, str]:
    """The generated configuration, its lines for pg_hba.conf, and its script."""
    lines = text.splitlines()
    marks = [n for n, line in enumerate(lines) if line.startswith(("# pg_hba.conf", "# /etc/inborn/reload.sql"))]
    indented = [[line[6:] for line in lines[at:] if line.startswith("#     ")] for at in marks]
    access = [line for line in indented[0] if line.startswith("hostssl")]
    script = [line for line in indented[1] if not line.startswith("hostssl")]
    return text, "\n".join(access) + "\n", "\n".join(script) + "\n"


@pytest.fixture
def postgres(files_rig: FilesRig) -> Iterator[Postgres]:
    binaries = sorted(PROGRAMS.glob("*/bin/postgres"))
    if not binaries:
        pytest.skip("needs postgres: not in /usr/lib/postgresql")
    programs = binaries[-1].parent
    account = pwd.getpwnam("postgres")
    base = files_rig.directory / f"pg{time.monotonic_ns() % 10**8}"
    base.mkdir()
    os.chown(base, account.pw_uid, account.pw_gid)
    port = free_port()
    text, access, script = sections(generated("postgresql", base / "tls", port))
    as_postgres(
        programs / "initdb",
        "-D",
        base / "data",
        "-A",
        "trust",
        "-U",
        "postgres",
        "--no-sync",
        "-E",
        "UTF8",
        "--no-locale",
    )
    (base / "reload.sql").write_text(script)
    (base / "data" / "pg_hba.conf").write_text(f"local all postgres trust\n{access}")
    with open(base / "data" / "postgresql.conf", "a") as configuration:
        configuration.write(
            f"{text}\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{base}'\n"
        )
        configuration.write("fsync = off\n")
    psql = f"psql -h {base} -p {port} -U postgres -Xq"
    reload = f"runuser -u postgres -- {psql} -f {base}/reload.sql"
    try:
        with files_rig.files(
            "--owner", "postgres", "--reload-command", reload, "--check", f"postgresql://127.0.0.1:{port}",
            directory=base / "tls", ttl=8,
        ) as files:  # fmt: skip
            command = ["runuser", "-u", "postgres", "--", str(programs / "postgres"), "-D", str(base / "data")]
            with running(command, cwd="/") as server:
                wait_listening(port, server)
                as_postgres(*psql.split(), "-c", "CREATE ROLE app LOGIN")
                yield Postgres(port, files)
                stop(programs, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def stop(programs: Path, base: Path) -> None:
    as_postgres(programs / "pg_ctl", "-D", base / "data", "-m", "immediate", "stop")


def test_open_connection_of_a_revoked_client_ends_and_it_gets_no_other(files_rig: FilesRig, postgres: Postgres) -> None:
    postgres.files.server.wait_for("told")
    client, other = files_rig.client(common_name="app"), files_rig.client(common_name="app")
    assert (postgres.ask(client), postgres.ask(other)) == ("hello", "hello")
    with session(postgres, client) as kept, session(postgres, other) as bystander:
        since = files_rig.revoke(client)
        assert kept.stdin is not None
        assert kept.stderr is not None

        def has_ended() -> bool:
            try:
                kept.stdin.write("SELECT 'still';\n")  # type: ignore[union-attr]
                kept.stdin.flush()  # type: ignore[union-attr]
            except BrokenPipeError:
                pass
            return kept.poll() is not None

        wait_until(has_ended, "the open connection ends", SOON)
        assert dt.timedelta(seconds=time.monotonic() - since) < 15 * A_SECOND  # a CRL a second, a psql, a reload
        assert "terminating connection" in kept.stderr.read()
        # The postmaster reads its files when it is told, which may be a moment after the connection's end.
        wait_until(lambda: "certificate revoked" in postgres.ask(client), "a new connection is refused", SOON)
        assert postgres.ask(other) == "hello"
        assert bystander.stdin is not None
        assert bystander.stdout is not None
        bystander.stdin.write("SELECT 'bystander';\n")
        bystander.stdin.flush()
        assert bystander.stdout.readline() == "bystander\n"


def test_sessions_are_not_resumed(files_rig: FilesRig, postgres: Postgres, tmp_path: Path) -> None:
    client = files_rig.client(common_name="app")
    base = ["openssl", "s_client", "-connect", f"127.0.0.1:{postgres.port}", "-starttls", "postgres"]
    base += ["-cert", str(client.directory / "svid.pem"), "-key", str(client.directory / "key.pem")]
    for version in ("-tls1_2", "-tls1_3"):
        saved = tmp_path / f"session{version}"
        command = [*base, version]
        first = subprocess.run(
            [*command, "-sess_out", saved], input="", capture_output=True, text=True, timeout=SOON, check=False
        )
        assert "New, TLSv1" in first.stdout, first.stderr
        if saved.exists():  # a server that gives no ticket leaves nothing to come back with
            second = subprocess.run(
                [*command, "-sess_in", saved], input="", capture_output=True, text=True, timeout=SOON, check=False
            )
            assert "Reused" not in second.stdout


def test_rotated_certificate_is_presented_and_connections_stay(files_rig: FilesRig, postgres: Postgres) -> None:
    client = files_rig.client(common_name="app")
    with session(postgres, client) as kept:
        first = postgres.files.leaf
        wait_until(lambda: postgres.files.leaf != first, "a rotation", SOON)
        server = CheckedServer.parse(f"postgresql://127.0.0.1:{postgres.port}")
        combined = postgres.files.directory / "combined.pem"
        wait_until(lambda: server.presented(combined) == postgres.files.leaf, "it is presented", SOON)
        assert kept.stdin is not None
        assert kept.stdout is not None
        kept.stdin.write("SELECT 'kept';\n")
        kept.stdin.flush()
        assert kept.stdout.readline() == "kept\n"
