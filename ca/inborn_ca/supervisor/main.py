"""The process that `inborn up` and `inborn ca run` are: starts signer, front and agent, and keeps them running.

It parses nothing of what comes from outside, loads no gRPC and no cryptography, and has one thread. Signer and front
are one unit: they share a socketpair, and when either dies both are started anew. The agent is another: it goes on
without a CA for a long time, so a restart of the CA does not touch it.
"""

from __future__ import annotations

import argparse
import os
import pwd
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inborn._internal.address import Address
from inborn._internal.host import paths
from inborn.errors import InbornError, RequestError
from inborn_ca.supervisor.data_directory import DataDirectory
from inborn_ca.supervisor.supervised_child import Account, SupervisedChild, spawn
from inborn_ca.supervisor.units import GaveUp, Unit, UnitState, event

__all__ = ["Supervisor", "SupervisorSettings", "main"]

SIGNER_ACCOUNT, FRONT_ACCOUNT = "inborn-ca", "inborn-front"  # used as root, where they exist
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """What was asked for, checked by whoever asks (`cli`)."""

    data_dir: Path
    trust_domain: str
    listen: str
    bootstrap_port: int
    api_port: int
    crl_port: int
    metrics: bool
    """Of CA and agent, on loopback."""
    advertise: str
    min_ttl: float | None
    """Seconds; None: the CA's default."""
    signer_user: str
    front_user: str
    with_agent: bool
    socket: Path | None
    docker_socket: str | None
    """None: the agent's default; empty: none."""


class Supervisor:
    """One run: `run` returns the exit status."""

    def __init__(self, settings: SupervisorSettings) -> None:
        self.settings = settings
        self._wakeup, self._wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._terminations = 0
        self._directory: DataDirectory | None = None
        self._ports: dict[str, int] = {}
        self._trust_domain = settings.trust_domain
        self._signer_account: Account | None = None
        self._front_account: Account | None = None
        self._socket = settings.socket or paths.workload_socket(settings.data_dir)
        self._ca = Unit("CA", self._start_ca)
        self._agent = Unit("agent", self._start_agent)
        self._is_announced = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT: 0. When a unit does not come up: 1. Raises what keeps it from beginning."""
        self._prepare()
        try:
            self._ca.start()
            while not self._terminations:
                now = time.monotonic()
                for unit in (self._ca, self._agent):
                    unit.look(now)
                self._proceed()
                self._wait(min((u.deadline for u in (self._ca, self._agent) if u.deadline), default=None))
            event("supervisor.stopping")
            return 0
        except GaveUp as e:
            event("supervisor.gave_up", reason=f'"{e}"', level="ERROR")
            print(f"error: {e}; what it said stands above", file=sys.stderr)
            return 1
        finally:
            _notify("STOPPING=1")
            asked = self._terminations
            for unit in (self._agent, self._ca):
                unit.stop(lambda deadline: self._wait(deadline) > asked)

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        settings = self.settings
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminated)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # its only use is to wake us
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self._signer_account = _account(settings.signer_user, SIGNER_ACCOUNT)
        self._front_account = _account(settings.front_user, FRONT_ACCOUNT)
        for path in (self._socket, paths.admin_socket(settings.data_dir), paths.agent_admin_socket(settings.data_dir)):
            if len(os.fsencode(path)) > paths.MAX_SOCKET_PATH:
                raise RequestError(
                    f"path of a socket is longer than {paths.MAX_SOCKET_PATH} octets: {path}",
                    hint="choose a shorter --data-dir",
                )
        directory = DataDirectory.open(settings.data_dir, is_shared=self._signer_account is not None)
        self._directory = directory
        wanted = {"bootstrap": settings.bootstrap_port, "api": settings.api_port, "crl": settings.crl_port}
        self._ports = directory.ports(settings.listen, wanted)
        if settings.metrics:
            self._ports |= directory.ports("127.0.0.1", {"metrics": 0, "agent_metrics": 0})
        if not self._trust_domain:
            self._trust_domain = directory.first_trust_domain()
        owner = self._signer_account
        directory.part("ca", (owner.uid, owner.gid) if owner is not None else (os.geteuid(), os.getegid()))
        if owner is None and os.geteuid() == 0:
            note = "signer and front run as one user: the split between them protects little"
            event("supervisor.one_user", note=f'"{note}"')

    def _terminated(self, number: int, _frame: object) -> None:
        self._terminations += 1

    # -- what is started ---------------------------------------------------------------------------------------------

    def _start_ca(self) -> Sequence[SupervisedChild]:
        settings, directory = self.settings, self._locked()
        signer_end, front_end = socket.socketpair()
        with signer_end, front_end:
            signer_fd, front_fd = signer_end.fileno(), front_end.fileno()

            def signer(ready_fd: int) -> Sequence[str]:
                command = _python("inborn_ca.signer", "--data-dir", str(directory.path), "--front-fd", str(signer_fd))
                command += ["--ready-fd", str(ready_fd)]
                if self._trust_domain:
                    command += ["--trust-domain", self._trust_domain]
                if settings.min_ttl is not None:
                    command += ["--min-ttl", f"{settings.min_ttl:g}"]
                return command

            def front(ready_fd: int) -> Sequence[str]:
                command = _python("inborn_ca.front", "--signer-fd", str(front_fd), "--ready-fd", str(ready_fd))
                command += ["--bootstrap", str(Address(settings.listen, self._ports["bootstrap"]))]
                command += ["--api", str(Address(settings.listen, self._ports["api"]))]
                command += ["--crl", str(Address(settings.listen, self._ports["crl"]))]
                if settings.advertise:
                    command += ["--advertise", settings.advertise]
                if settings.metrics:
                    command += ["--metrics", str(Address("127.0.0.1", self._ports["metrics"]))]
                return command

            children = [spawn("signer", signer, pass_fds=[signer_fd, directory.lock_fd], account=self._signer_account)]
            children.append(spawn("front", front, pass_fds=[front_fd], account=self._front_account))
        return children

    def _start_agent(self) -> Sequence[SupervisedChild]:
        settings, directory = self.settings, self._locked()
        host = "127.0.0.1" if settings.listen in _WILDCARDS else settings.listen

        def agent(ready_fd: int) -> Sequence[str]:
            command = _python("inborn_agent", "run", "--ca", str(Address(host, self._ports["bootstrap"])))
            command += ["--join-admin-socket", str(paths.admin_socket(directory.path))]
            command += ["--data-dir", str(directory.path), "--socket", str(self._socket), "--ready-fd", str(ready_fd)]
            if settings.docker_socket is not None:
                command += ["--docker-socket", settings.docker_socket]
            if settings.metrics:
                command += ["--metrics-address", str(Address("127.0.0.1", self._ports["agent_metrics"]))]
            return command

        return [spawn("agent", agent, pass_fds=[directory.lock_fd])]

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Once the CA serves, start the agent; once all serve, say so."""
        if self._ca.state is not UnitState.SERVING:
            return
        if self.settings.with_agent and self._agent.state is UnitState.IDLE:
            self._agent.start()
            return
        if self._is_announced or (self.settings.with_agent and self._agent.state is not UnitState.SERVING):
            return
        self._is_announced = True
        self._locked().trust_domain_is_kept()
        self._trust_domain = self.settings.trust_domain
        self._announce(self._ca.facts.get("trust_domain", ""))
        _notify("READY=1")

    def _announce(self, trust_domain: str) -> None:
        """The one thing that a script wants on standard output; what a person wants to know next on the other."""
        settings = self.settings
        bootstrap = str(Address(settings.advertise or settings.listen, self._ports["bootstrap"]))
        named = settings.data_dir != paths.data_dir()
        if "INBORN_DATA_DIR" in os.environ:
            named = True
        lines = [f"trust domain {trust_domain}, data in {settings.data_dir}"]
        if self.settings.with_agent:
            print(f"unix://{self._socket}", flush=True)
            lines.insert(0, f"inborn is up: the Workload API answers at unix://{self._socket}")
            lines += ["next:"]
            if named:
                lines.append(f"  export INBORN_DATA_DIR={settings.data_dir}")
            lines += [
                f"  inborn entry create --id spiffe://{trust_domain}/web --selector unix:uid:{os.getuid()}",
                "  inborn svid fetch",
                "  inborn status",
            ]
        else:
            print(bootstrap, flush=True)
            lines.insert(0, f"the CA is up: agents and daemons join at {bootstrap}")
            lines += ["next:"]
            if named:
                lines.append(f"  export INBORN_DATA_DIR={settings.data_dir}")
            lines += ["  inborn token create", "  inborn status"]
        if settings.metrics:
            names = ["metrics", "agent_metrics"] if settings.with_agent else ["metrics"]
            lines.insert(2, "metrics at " + ", ".join(f"http://127.0.0.1:{self._ports[n]}/metrics" for n in names))
        print("\n".join(lines), file=sys.stderr, flush=True)

    def _wait(self, deadline: float | None) -> int:
        """Wait for a signal, a word from a child, or the deadline; returns how often we were told to end."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        pipes = {c.ready_fd: c for unit in (self._ca, self._agent) for c in unit.children if c.ready_fd >= 0}
        for fd in pipes:
            poll.register(fd, select.POLLIN)
        timeout = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
        for fd, _ in poll.poll(timeout):
            if fd == self._wakeup:
                os.read(fd, 4096)
            else:
                pipes[fd].read_ready()
        return self._terminations

    def _locked(self) -> DataDirectory:
        assert self._directory is not None  # noqa: S101 -- for the type checker: _prepare has run
        return self._directory


def _python(module: str, *arguments: str) -> list[str]:
    """A command line. -P: a module in the current directory must not be taken for one of ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def _account(named: str, default: str) -> Account | None:
    """The user to run a process as; None: as ourselves. Raises `RequestError` for one that cannot be had."""
    if not named and os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(named or default)
    except KeyError:
        if named:
            raise RequestError(f"there is no user {named}") from None
        return None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise RequestError(f"only root can run a process as {named}")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where nobody asked."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
    except OSError as e:
        event("supervisor.notify_failed", error=e.strerror, level="WARNING")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the process; what the arguments mean has been checked by `inborn up`."""
    parser = argparse.ArgumentParser(prog="python -m inborn_ca.supervisor")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--trust-domain", default="")
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--bootstrap-port", type=int, default=0)
    parser.add_argument("--api-port", type=int, default=0)
    parser.add_argument("--crl-port", type=int, default=0)
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--advertise", default="")
    parser.add_argument("--min-ttl", type=float)
    parser.add_argument("--signer-user", default="")
    parser.add_argument("--front-user", default="")
    parser.add_argument("--with-agent", action="store_true")
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--docker-socket")
    settings = SupervisorSettings(**vars(parser.parse_args(arguments)))
    try:
        return Supervisor(settings).run()
    except InbornError as e:
        print(f"error: {e.message}" + (f"\nhint: {e.hint}" if e.hint else ""), file=sys.stderr)
        return 1
    except OSError as e:  # a full disk, no more processes: nothing of ours is wrong
        print(f"error: {e.filename or settings.data_dir}: {(e.strerror or str(e)).lower()}", file=sys.stderr)
        return 1
