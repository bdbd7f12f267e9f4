"""`inborn files`: keep an identity in files for a program that reads files, and make it read them.

Theory of operation. The source's thread hands over snapshots; the main thread makes files of the newest one and
replaces those in the directory in one step. The program that has to be told has a thread of its own, which is given the
newest files and tries again until it is done: a reload that hangs holds up no files. Answers for `auth_request` are
given on the library's own loop, from the same snapshots.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import grp
import os
import pwd
import queue
import signal
import socket as sockets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from inborn._internal.host.talk import say, say_error
from inborn._internal.source.snapshot import IdentitySource, NoIdentity, Snapshot
from inborn.errors import RequestError
from inborn_cli.options import DURATION, example, socket_option
from inborn_cli.servers.auth_answer import LIMITS, AuthAnswer
from inborn_cli.servers.followers import Follower, HaproxyFollower, PublishedFiles, ReloadFollower
from inborn_cli.servers.haproxy_runtime import HaproxyRuntime
from inborn_cli.servers.presented import CheckedServer
from inborn_cli.servers.reload import CommandReload, Reload, SignalReload
from inborn_cli.servers.revoked_serials import RevokedSerials, list_files
from inborn_cli.workload.agent_connection import workload_endpoint
from inborn_cli.workload.foreground_child import parse_signal
from inborn_cli.workload.identity_files import (
    COMBINED_FILE,
    CRL_FILE,
    KEY_FILE,
    SVID_FILE,
    FileSet,
    SecretAccess,
    crl_pem,
    identity_files,
)
from inborn_cli.workload.own_identity import choose_svid, open_source

__all__ = ["files"]

_PATH = click.Path(path_type=Path)
_RECONSIDER = (
    1.0  # seconds: a source says at once when there is something new; why there is nothing may change silently
)
_GRACE = 2.0  # seconds: for that long, that the agent has not answered yet is no news


@click.command(
    help="Keep this process's identity in DIR, for a program that reads files, and make it read them: after each "
    "rotation and each revocation. Runs until it is told to end; the files stay.\n\n"
    "DIR has svid.pem, key.pem, bundle.pem, crl.pem, combined.pem (chain and key), revoked.lst (serials in hex) and "
    "revoked-decimal.lst, and all of them change in one step. `inborn config show` prints what the program's "
    "configuration has to say.\n\n"
    + example("inborn files /run/nginx-tls --reload-signal HUP --reload-pid-file /run/nginx.pid --check 127.0.0.1:443")
)
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--reload-signal", metavar="SIG", help="Send this signal, with --reload-pid-file.")
@click.option("--reload-pid-file", type=_PATH, help="The file whose first line is the program's pid.")
@click.option("--reload-command", metavar="CMD", help="Run this, without a shell; it finds INBORN_SVID_DIR.")
@click.option(
    "--haproxy-socket", type=_PATH, help="Tell HAProxy by its runtime socket; reload when that is not enough."
)
@click.option("--check", metavar="HOST:PORT", help="See that the new certificate is presented; postgresql://HOST:PORT.")
@click.option("--auth-socket", type=_PATH, help="Answer nginx's auth_request on this UNIX socket.")
@click.option("--auth-max-age", type=DURATION, help="Refuse everybody there if the CA was not heard for so long.")
@click.option("--mode", default="0600", show_default=True, help="Of the files that hold the key.")
@click.option("--owner", metavar="USER", help="Of the files that hold the key, and of the auth socket.")
@click.option("--group", metavar="GROUP", help="The same.")
@click.option("--hint", help="The identity with this hint, where there are several.")
@socket_option
def files(
    directory: Path,
    reload_signal: str | None,
    reload_pid_file: Path | None,
    reload_command: str | None,
    haproxy_socket: Path | None,
    check: str | None,
    auth_socket: Path | None,
    auth_max_age: dt.timedelta | None,
    mode: str,
    owner: str | None,
    group: str | None,
    hint: str | None,
    socket: str | None,
    data_dir: Path | None,
) -> None:
    directory = directory.absolute()
    access = SecretAccess(mode=_mode(mode), uid=_user(owner), gid=_group(group))
    reload = _reload(directory, reload_signal, reload_pid_file, reload_command)
    server = CheckedServer.parse(check) if check is not None else None
    if auth_max_age is not None and auth_socket is None:
        raise RequestError("--auth-max-age is for --auth-socket")
    events: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()
    with _ended_by_signal(events), open_source(workload_endpoint(socket, data_dir)) as source:
        followers = _followers(directory, reload, haproxy_socket, server)
        with _answering(source, auth_socket, auth_max_age, access):
            writer = _Writer(FileSet(directory, access), hint, followers)
            unsubscribe = source.subscribe(events.put)
            try:
                writer.run(source, events)
            finally:
                unsubscribe()


class _Writer:
    """Makes files of snapshots, and hands them on."""

    def __init__(self, files: FileSet, hint: str | None, followers: list[Follower]) -> None:
        self._files = files
        self._hint = hint
        self._followers = followers
        self._serials = RevokedSerials()
        self._written: dict[str, bytes] = {}
        self._leaf = b""
        self._complaint = ""
        self._started = time.monotonic()

    def run(self, source: IdentitySource, events: queue.SimpleQueue[Snapshot | None]) -> None:
        """Until a None comes."""
        event: Snapshot | None = source.snapshot()
        while event is not None:
            self._take(event)
            try:
                event = events.get(timeout=_RECONSIDER)
                while event is not None and not events.empty():
                    event = events.get()  # each is the full state: the newest is enough
            except queue.Empty:
                event = source.snapshot()

    def _take(self, snapshot: Snapshot) -> None:
        """Write the files if they are other ones now. What fails is said, once, and leaves them as they are."""
        try:
            new, leaf = self._make(snapshot)
            if new == self._written:
                return
            self._files.write(new)
        except (NoIdentity, RequestError, OSError) as error:
            self._complain(str(error), bool(self._written))
            return
        is_first = not self._written
        self._written, self._leaf = new, leaf
        if is_first:
            say(f"written to {self._files.directory}")
            _notify_ready()
        for follower in self._followers:
            follower.follow(PublishedFiles(directory=self._files.directory, files=new, leaf=leaf))

    def _make(self, snapshot: Snapshot) -> tuple[dict[str, bytes], bytes]:
        """The files, and the leaf in DER. Without an identity (any more), the last one with what is revoked now."""
        from cryptography.hazmat.primitives.serialization import Encoding

        leaf = self._leaf
        try:
            svid = choose_svid(snapshot, self._hint)
            new = identity_files(snapshot, svid)
            new[COMBINED_FILE] = new[SVID_FILE] + new[KEY_FILE]
            leaf = svid.leaf.public_bytes(Encoding.DER)
            self._complaint = ""
        except NoIdentity as error:
            if not self._written:
                raise
            self._complain(error.message, True)
            new = {**self._written, CRL_FILE: crl_pem(snapshot)}
        new.update(list_files(self._serials.of(snapshot)))
        return new, leaf

    def _complain(self, reason: str, is_written: bool) -> None:
        if reason == self._complaint or (not is_written and time.monotonic() < self._started + _GRACE):
            return
        self._complaint = reason
        if is_written:
            say_error(f"the identity in {self._files.directory} stays as it is: {reason}")
        else:
            say(f"waiting: {reason}")


# -- what was asked for ------------------------------------------------------------------------------------------------


def _reload(directory: Path, name: str | None, pid_file: Path | None, command: str | None) -> Reload | None:
    if (name is None) != (pid_file is None):
        raise RequestError("--reload-signal and --reload-pid-file belong together")
    if name is not None and pid_file is not None:
        if command is not None:
            raise RequestError("--reload-signal and --reload-command exclude each other")
        try:
            return SignalReload(number=parse_signal(name), pid_file=pid_file.absolute())
        except ValueError as e:
            raise RequestError(str(e)) from e
    if command is not None:
        return CommandReload.parse(command, {**os.environ, "INBORN_SVID_DIR": str(directory)})
    return None


def _followers(
    directory: Path, reload: Reload | None, haproxy: Path | None, server: CheckedServer | None
) -> list[Follower]:
    if haproxy is not None:
        runtime = HaproxyRuntime(haproxy.absolute(), directory)
        return [HaproxyFollower(runtime, reload=reload, server=server)]
    return [ReloadFollower(reload, server)] if reload is not None or server is not None else []


def _mode(text: str) -> int:
    if not 3 <= len(text) <= 4 or any(c not in "01234567" for c in text):
        raise RequestError(f"not a mode in octal: {text[:20]!a}", hint="for example 0600 or 0640")
    return int(text, 8)


def _user(name: str | None) -> int:
    if name is None:
        return -1
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise RequestError(f"there is no user {name[:40]!a}") from None


def _group(name: str | None) -> int:
    if name is None:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise RequestError(f"there is no group {name[:40]!a}") from None


@contextmanager
def _answering(
    source: IdentitySource, path: Path | None, max_age: dt.timedelta | None, access: SecretAccess
) -> Iterator[None]:
    """Serve the auth socket, if there is one. It is its owner's and its group's, and nobody else's."""
    if path is None:
        yield
        return
    from inborn._internal.http.http_server import HttpServer
    from inborn._internal.source.background import run_in_background

    path = path.absolute()
    server = HttpServer(AuthAnswer(source, max_age=max_age).answer, LIMITS)
    try:
        run_in_background(server.open_unix(path, mode=0o660, uid=access.uid, gid=access.gid)).result()
    except OSError as e:
        raise RequestError(f"cannot listen on {path}: {(e.strerror or str(e)).lower()}") from e
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(TimeoutError):
            run_in_background(server.close()).result(timeout=_GRACE)


@contextmanager
def _ended_by_signal(events: queue.SimpleQueue[Snapshot | None]) -> Iterator[None]:
    """SIGTERM and SIGINT put a None in the queue (which may be done from a handler)."""

    def end(number: int, frame: FrameType | None) -> None:
        events.put(None)

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notify_ready() -> None:
    """Tell systemd (sd_notify(3)) that the files are there: what needs them may start."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path.startswith(("/", "@")):
        with contextlib.suppress(OSError), sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + path[1:] if path.startswith("@") else path)
