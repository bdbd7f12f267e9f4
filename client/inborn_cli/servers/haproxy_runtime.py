"""HAProxy told by its runtime socket, without a reload: revoked serials, sessions to be ended, its own certificate.

Theory of operation. HAProxy knows files by the names that its configuration gives them. `add acl` adds a line to a list
that every request is compared with; `set` and `commit` replace the certificate. A process that was started anew has
read the files by itself, but perhaps before the newest were there, so everything is told to each process (by its pid)
once, and afterwards what has changed.

CRLs and roots are not told: HAProxy 2.6 dies of a `commit ssl crl-file` or `commit ssl ca-file` that comes after a
`commit ssl cert` (haproxy issue 3165, and seen with 2.6.12). Who is revoked is on the list, which does more than a
CRL. But the CRLs that HAProxy has read must not expire, or it refuses everybody: see `crls_end`.

Sessions carry no serial that the socket shows. The generated configuration therefore tracks each in a table
(`SESSION_TABLE`) under `SERIAL/NOTAFTER/ADDRESS:PORT`, and a session is found by its client's address and port.
A session is tracked before it is compared with the list, so that one which got in before a serial was on the list is in
the table when the list has it.
"""

from __future__ import annotations

import datetime as dt
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from inborn.errors import UnavailableError
from inborn_cli.servers.revoked_serials import REVOKED_FILE
from inborn_cli.workload.identity_files import COMBINED_FILE, CRL_FILE

__all__ = ["SESSION_TABLE", "HaproxyRefused", "HaproxyRuntime", "TrackedSession", "read_sessions"]

SESSION_TABLE = "inborn_sessions"

_TIMEOUT = 10.0  # seconds: it answers in milliseconds, and one that hangs is as good as none
_MAX_ANSWER = 256 * 1024 * 1024  # bytes: 100,000 sessions have 40 million
_MAX_LINE = 8 * 1024  # bytes of commands in one line: half of the smallest usual tune.bufsize
_SERIAL = re.compile(r"[0-9A-F]{2,40}")
_ROW = re.compile(r"\bkey=([0-9A-F]{2,40})/([0-9]{12})Z?/(\S{3,64}) (?:\S+ )*?conn_cur=([0-9]+)\b")
_ISSUER = re.compile(r"^Issuer: (.*)$", re.MULTILINE)
_NEXT_UPDATE = re.compile(r"^Next Update: (\w{3} +[0-9]{1,2} [0-9:]{8} [0-9]{4}) GMT", re.MULTILINE)
_SESSION = re.compile(r"^(0x[0-9a-f]+): proto=\S+ src=(\S+) ", re.MULTILINE)


class HaproxyRefused(UnavailableError):
    """HAProxy does not answer, or has not done what it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedSession:
    """A session's client, as the table has it."""

    serial: str
    """As in `REVOKED_FILE`."""
    not_after: dt.datetime
    source: str
    """Address and port, as `show sess` has them."""
    is_open: bool
    """A row of a session that has ended stays for hours, and its address and port may be somebody else's by now."""


class HaproxyRuntime:
    """One HAProxy, with its files in one directory."""

    def __init__(self, path: Path, directory: Path) -> None:
        self._path = path
        self._directory = directory
        self._pid = 0
        self._certificate = b""
        self._serials: frozenset[str] = frozenset()
        self.has_sessions = True
        """Whether its configuration tracks sessions, as far as that is known."""

    def tell(self, files: Mapping[str, bytes], now: dt.datetime) -> bool:
        """Bring it to what these files say, and end the sessions of revoked and expired certificates.

        Whether there was anything to tell. Denials come first. Raises `HaproxyRefused`; what was not done is done at
        the next call.
        """
        self._look_at_process()
        serials = frozenset(files[REVOKED_FILE].decode().split())
        has_news = serials != self._serials or self._certificate != files[COMBINED_FILE]
        self._tell_serials(serials)
        self.end_sessions(now)
        if self._certificate != files[COMBINED_FILE]:
            self._replace_certificate(files[COMBINED_FILE])
            self._certificate = files[COMBINED_FILE]
        return has_news

    def crls_end(self) -> dt.datetime | None:
        """When the first of the CRLs that it has read expires; None: it has none. Raises `HaproxyRefused`."""
        found = _NEXT_UPDATE.findall(self._ask(f"show ssl crl-file {self._file(CRL_FILE)}"))
        return min((_openssl_time(text) for text in found), default=None)

    def lacks_crls_of(self, authorities: Iterable[str]) -> bool:
        """Whether it has read no CRL of one of these authorities (their common names): then it refuses everybody whose
        chain has that authority. Raises `HaproxyRefused`."""
        issuers = _ISSUER.findall(self._ask(f"show ssl crl-file {self._file(CRL_FILE)}"))
        return any(not any(issuer.endswith(f"/CN={name}") for issuer in issuers) for name in authorities)

    def end_sessions(self, now: dt.datetime) -> int:
        """End the sessions whose certificate is revoked or has expired; how many."""
        answer = self._ask(f"show table {SESSION_TABLE}")
        self.has_sessions = not answer.startswith("No such table")
        if not self.has_sessions:
            return 0
        dead = {
            session.source
            for session in read_sessions(answer)
            if session.is_open and (session.serial in self._serials or session.not_after < now)
        }
        if not dead:
            return 0
        found = [number for number, source in _SESSION.findall(self._ask("show sess")) if source in dead]
        for number in found:
            self._ask(f"shutdown session {number}")
        return len(found)

    def _look_at_process(self) -> None:
        match = re.search(r"^Pid: ([0-9]+)$", self._ask("show info"), re.MULTILINE)
        if match is None:
            raise HaproxyRefused(f"{self._path} is no runtime socket of HAProxy")
        if int(match[1]) != self._pid:
            acl = self._ask(f"show acl {self._file(REVOKED_FILE)}")
            self._serials = frozenset(line.split()[-1] for line in acl.splitlines() if line.startswith("0x"))
            self._certificate = b""
            self._pid = int(match[1])

    def _tell_serials(self, wanted: frozenset[str]) -> None:
        name = self._file(REVOKED_FILE)
        for chunk in _chunks(sorted(wanted - self._serials), len(name)):
            self._done("; ".join(f"add acl {name} {serial}" for serial in chunk), f"add to {name}")
            self._serials |= set(chunk)
        for chunk in _chunks(sorted(self._serials - wanted), len(name)):  # nothing that they touch is alive any more
            self._done("; ".join(f"del acl {name} {serial}" for serial in chunk), f"take from {name}")
            self._serials -= set(chunk)

    def _replace_certificate(self, pem: bytes) -> None:
        file = self._file(COMBINED_FILE)
        payload = "\n".join(line for line in pem.decode().splitlines() if line)  # an empty line would end it
        answer = self._ask(f"set ssl cert {file} <<\n{payload}\n")
        if "ransaction" not in answer:
            raise HaproxyRefused(f"HAProxy does not take {file}: {_one_line(answer)}")
        answer = self._ask(f"commit ssl cert {file}")
        if "Success" not in answer:
            self._ask(f"abort ssl cert {file}")
            raise HaproxyRefused(f"HAProxy does not use {file}: {_one_line(answer)}")

    def _done(self, command: str, what: str) -> None:
        answer = self._ask(command)
        if answer.strip():
            raise HaproxyRefused(f"HAProxy does not {what}: {_one_line(answer)}")

    def _file(self, name: str) -> str:
        return str(self._directory / name)

    def _ask(self, command: str) -> str:
        """One command on a connection of its own: HAProxy closes it after the answer."""
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(_TIMEOUT)
                sock.connect(str(self._path))
                sock.sendall(command.encode() + b"\n")
                while piece := sock.recv(65536):
                    answer += piece
                    if len(answer) > _MAX_ANSWER:
                        raise HaproxyRefused(f"HAProxy's answer is longer than {_MAX_ANSWER} bytes")
        except OSError as e:
            raise HaproxyRefused(f"HAProxy's socket {self._path}: {(e.strerror or str(e)).lower()}") from e
        return answer.decode(errors="replace")


def read_sessions(table: str) -> Iterator[TrackedSession]:
    """The clients in the answer to `show table`. What was not made by the generated configuration is passed over."""
    for serial, not_after, source, connections in _ROW.findall(table):
        try:
            end = dt.datetime.strptime(not_after, "%y%m%d%H%M%S").replace(tzinfo=dt.UTC)
        except ValueError:
            continue
        yield TrackedSession(serial=serial, not_after=end, source=source, is_open=connections != "0")


def _chunks(serials: Iterable[str], name: int) -> Iterator[list[str]]:
    """As many as fit in one line, each with a file's name of that length."""
    chunk: list[str] = []
    size = 0
    for serial in serials:
        if _SERIAL.fullmatch(serial) is None:
            continue  # it would be a command of its own
        chunk.append(serial)
        size += name + len(serial) + len("add acl  ; ")
        if size > _MAX_LINE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _one_line(answer: str) -> str:
    return " ".join(answer.split())[:300] or "no answer"


def _openssl_time(text: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(" ".join(text.split()), "%b %d %H:%M:%S %Y").replace(tzinfo=dt.UTC)
    except ValueError as e:
        raise HaproxyRefused(f"HAProxy says a time that is none: {text!a}") from e
