"""The parts of `inborn files` and `inborn config show`: what is asked for is checked, and what is told is exact."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.address import Address
from inborn.errors import RequestError
from inborn.testing import MemoryAuthority
from inborn_cli.servers.config import configuration
from inborn_cli.servers.haproxy_runtime import read_sessions
from inborn_cli.servers.presented import CheckedServer
from inborn_cli.servers.reload import CommandReload, NotReloaded, SignalReload
from inborn_cli.servers.revoked_serials import RevokedSerials, list_files
from inborn_cli.workload.identity_files import FileSet, SecretAccess
from tests.inborn_cli.fixtures_cli import Command

# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--reload-signal HUP", "belong together"),
        ("--reload-pid-file x", "belong together"),
        ("--reload-signal NO --reload-pid-file x", "not a signal: 'NO'"),
        ("--reload-signal HUP --reload-pid-file x --reload-command y", "exclude each other"),
        ("--reload-command ''", "reload command is empty"),
        ("""--reload-command 'a "b'""", "not a command"),
        ("--check nowhere", "not HOST:PORT"),
        ("--check host:70000", "not HOST:PORT"),
        ("--mode 0644", "and no others: 644"),
        ("--mode rw", "not a mode in octal"),
        ("--owner no-such-user-here", "there is no user"),
        ("--group no-such-group-here", "there is no group"),
        ("--auth-max-age 5m", "--auth-max-age is for --auth-socket"),
    ],
)
def test_what_cannot_be_meant_is_refused(inborn: Command, tmp_path: Path, arguments: str, complaint: str) -> None:
    ran = inborn(f"files {tmp_path}/tls {arguments}")
    assert ran.status == 1
    assert complaint in ran.err
    assert not (tmp_path / "tls").exists()


# -- reload ------------------------------------------------------------------------------------------------------------


def test_process_of_the_pid_file_gets_the_signal(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as process:
        pid_file.write_text(f"{process.pid}\n/var/lib/postgresql\n5432\n")
        SignalReload(number=signal.SIGTERM, pid_file=pid_file).run()
        assert process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1", "12345678901", "1 2"])
def test_file_without_a_pid_reaches_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    with pytest.raises(NotReloaded, match="names no process"):
        SignalReload(number=signal.SIGTERM, pid_file=tmp_path / "pid").run()


def test_process_that_is_gone_is_named(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait(10)
    (tmp_path / "pid").write_text(str(process.pid))
    with pytest.raises(NotReloaded, match="no such process"):
        SignalReload(number=signal.SIGTERM, pid_file=tmp_path / "pid").run()


def test_command_finds_the_directory_and_there_is_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = {"PATH": os.environ["PATH"], "INBORN_SVID_DIR": "/tls"}
    CommandReload.parse(f"sh -c 'echo $INBORN_SVID_DIR > {out}'", environment).run()
    assert out.read_text() == "/tls\n"
    CommandReload.parse(f"touch {tmp_path}/a;b", environment).run()
    assert (tmp_path / "a;b").exists()


def test_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(NotReloaded, match="sh failed with status 3: no such unit"):
        CommandReload.parse("sh -c 'echo no such unit; exit 3'", dict(os.environ)).run()
    with pytest.raises(NotReloaded, match="no such file"):
        CommandReload.parse("/no/such/command", dict(os.environ)).run()


# -- what is written ---------------------------------------------------------------------------------------------------


def test_lists_are_those_of_rules_by_serial_and_as_programs_have_them() -> None:
    authority = MemoryAuthority("example.org")
    source = authority.source("spiffe://example.org/server")
    svid = authority.svid("spiffe://example.org/client")
    serials = RevokedSerials()
    assert serials.of(source.snapshot()) == frozenset()
    authority.revoke(svid)
    authority.revoke("spiffe://example.org/other")  # names no serial
    found = serials.of(source.snapshot())
    number = svid.leaf.serial_number
    assert list_files(found) == {
        "revoked.lst": f"{number:X}\n".rjust(len(f"{number:X}\n") + len(f"{number:X}") % 2, "0").encode(),
        "revoked-decimal.lst": f"{number}\n".encode(),
    }


@pytest.mark.root
def test_key_is_given_to_who_was_named_each_time(tmp_path: Path) -> None:
    files = FileSet(tmp_path / "tls", SecretAccess(mode=0o640, uid=12345, gid=23456))
    for number in range(3):
        files.write({"key.pem": b"%d" % number, "combined.pem": b"x", "svid.pem": b"y"})
        for name in ("key.pem", "combined.pem"):
            found = (tmp_path / "tls" / name).stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o640)
        assert (tmp_path / "tls" / "svid.pem").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o4600, 0o200, 0])
def test_mode_that_opens_a_key_to_everybody_or_nobody_is_refused(mode: int) -> None:
    with pytest.raises(RequestError, match="mode of a key's file"):
        SecretAccess(mode=mode)


# -- HAProxy's answers -------------------------------------------------------------------------------------------------

TABLE = """# table: inborn_sessions, type: string, size:102400, used:2
0x7f178807d9c8: key=01A20C9AE57E0000351AFD05E97272658C581B/261124091007Z/127.0.0.1:38330 use=1 exp=89999999 conn_cur=1
0x7f178807d9c9: key=02/261124091008Z/::1:4711 use=0 exp=5 conn_cur=0
0x7f178807d9ca: key=somebody's own use=0 exp=5 conn_cur=0
0x7f178807d9cb: key=03/269924091008Z/::1:4712 use=0 exp=5 conn_cur=0
"""


def test_sessions_are_read_and_what_is_none_is_passed_over() -> None:
    found = list(read_sessions(TABLE))
    assert [(s.serial, s.source) for s in found] == [
        ("01A20C9AE57E0000351AFD05E97272658C581B", "127.0.0.1:38330"),
        ("02", "::1:4711"),
    ]
    assert found[0].not_after == dt.datetime(2026, 11, 24, 9, 10, 7, tzinfo=dt.UTC)


@given(st.text())
def test_any_answer_is_read(text: str) -> None:
    assert all(re.fullmatch("[0-9A-F]+", session.serial) for session in read_sessions(text))


# -- addresses and configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1:443", CheckedServer(address=Address("127.0.0.1", 443))),
        ("[::1]:443", CheckedServer(address=Address("::1", 443))),
        (
            "postgresql://db.example.org:5432",
            CheckedServer(address=Address("db.example.org", 5432), is_postgresql=True),
        ),
    ],
)
def test_server_to_look_at_is_understood(text: str, server: CheckedServer) -> None:
    assert CheckedServer.parse(text) == server
    assert str(server) == text


@pytest.mark.parametrize("server", ["nginx", "haproxy", "haproxy --tcp", "postgresql", "envoy"])
def test_configuration_has_no_place_left_open_and_no_resumption(inborn: Command, server: str) -> None:
    ran = inborn(f"config show {server} --dir /run/tls --listen 0.0.0.0:8443 --backend [::1]:9000")
    assert ran.status == 0
    assert re.search("@[A-Z_]+@", ran.out) is None
    secrets = [inborn(f"config show {server} --sds {name} --dir /run/tls") for name in ("svid", "trust")]
    shown = ran.out + "".join(secret.out for secret in secrets if server == "envoy")
    assert [secret.status for secret in secrets] == [0 if server == "envoy" else 1] * 2
    assert "/run/tls/" in shown
    assert "crl.pem" in shown
    words = {
        "nginx": ["ssl_session_tickets off", "ssl_session_cache   off", "auth_request "],
        "haproxy": ["no-tls-tickets", "tune.ssl.cachesize 0"],
        "postgresql": ["resumes no sessions"],
        "envoy": ["disable_stateless_session_resumption: true", "disable_stateful_session_resumption: true"],
    }[server.split()[0]]
    assert all(word in ran.out for word in words)


@pytest.mark.parametrize("bad", ["/run/a b", '/run/"', "/run/a;", "/run/a\n", "/run/{a}", "/run/'"])
def test_value_that_would_be_more_than_a_value_is_refused(bad: str) -> None:
    good = {
        "directory": "/run/tls",
        "listen": "127.0.0.1:1",
        "backend": "127.0.0.1:2",
        "auth_socket": "/a",
        "haproxy_socket": "/b",
        "sds_directory": "/c",
    }
    for name in ("directory", "auth_socket", "haproxy_socket", "sds_directory"):
        with pytest.raises(RequestError, match="cannot stand in a configuration"):
            configuration("nginx", **(good | {name: bad}))
    for address in ("nowhere", "host:", ":1", "host:x", "host:70000"):
        with pytest.raises(RequestError, match="not HOST:PORT"):
            configuration("nginx", **(good | {"listen": address}))


def test_tcp_is_for_haproxy(inborn: Command) -> None:
    assert inborn("config show nginx --tcp").status == 1
