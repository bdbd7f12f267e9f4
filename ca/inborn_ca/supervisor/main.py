"""The process that `inborn up` and `inborn ca run` are: starts signer, front and agent, and keeps them running.

It parses nothing of what comes from outside, loads no gRPC and no cryptography, and has one thread. Signer and front
are one unit: they share a socketpair, and when either dies both are started anew. The agent is another: it goes on
without a CA for a long time, so a restart of the CA does not touch it.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from inborn._internal.address import Address
from inborn._internal.host import paths
from inborn._internal.host.log import configure, get_logger
from inborn._internal.host.talk import say_error
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.settings.child_entry import run_with_settings
from inborn.errors import InternalError, RequestError
from inborn_ca.settings import CaSettings, FrontSettings, FrontStart, SignerSettings, SignerStart
from inborn_ca.supervisor.data_directory import DataDirectory
from inborn_ca.supervisor.supervised_child import Account, SupervisedChild, spawn_module
from inborn_ca.supervisor.units import GaveUp, Unit, UnitState

__all__ = ["Supervisor", "main"]

_log = get_logger("ca.supervisor")

SIGNER_ACCOUNT, FRONT_ACCOUNT = "inborn-ca", "inborn-front"  # used as root, where they exist
_LOOPBACK = "127.0.0.1"


class Supervisor:
    """One run: `run` returns the exit status."""

    def __init__(self, settings: CaSettings) -> None:
        self.settings = settings
        self._wakeup, self._wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._terminations = 0
        self._directory: DataDirectory | None = None
        self._ports: dict[str, int] = {}
        self._trust_domain = settings.trust_domain
        self._signer_account: Account | None = None
        self._front_account: Account | None = None
        of_agent = settings.agent or AgentOptions()
        self._socket = of_agent.socket or paths.workload_socket(settings.data_dir)
        self._agent_socket = of_agent.admin_socket or paths.agent_admin_socket(settings.data_dir)
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
            _log.event("supervisor.stopping")
            return 0
        except GaveUp as e:
            _log.error("supervisor.gave_up", reason=e)
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
        for path in (self._socket, paths.admin_socket(settings.data_dir), self._agent_socket):
            if len(os.fsencode(path)) > paths.MAX_SOCKET_PATH:
                raise RequestError(
                    f"path of a socket is longer than {paths.MAX_SOCKET_PATH} bytes: {path}",
                    hint="choose a shorter --data-dir",
                )
        directory = DataDirectory.open(settings.data_dir, is_shared=self._signer_account is not None)
        self._directory = directory
        wanted = {"bootstrap": settings.bootstrap_port, "api": settings.api_port, "crl": settings.crl_port}
        self._ports = directory.ports(settings.listen, wanted)
        if settings.metrics:
            self._ports |= directory.ports(_LOOPBACK, {"metrics": 0, "agent_metrics": 0})
        if not self._trust_domain:
            self._trust_domain = directory.first_trust_domain()
        owner = self._signer_account
        directory.part("ca", (owner.uid, owner.gid) if owner is not None else (os.geteuid(), os.getegid()))
        if owner is None and os.geteuid() == 0:
            note = "signer and front run as one user: the split between them protects little"
            _log.event("supervisor.one_user", note=note)

    def _terminated(self, number: int, _frame: object) -> None:
        self._terminations += 1

    # -- what is started ---------------------------------------------------------------------------------------------

    def _start_ca(self) -> Sequence[SupervisedChild]:
        settings, directory = self.settings, self._locked()
        signer_end, front_end = socket.socketpair()
        with signer_end, front_end:
            signer_fd, front_fd = signer_end.fileno(), front_end.fileno()

            signer = SignerSettings(
                data_dir=directory.path,
                trust_domain=self._trust_domain,
                min_ttl=settings.min_ttl,
                log_level=settings.log_level,
            )
            front = FrontSettings(
                bootstrap=Address(settings.listen, self._ports["bootstrap"]),
                api=Address(settings.listen, self._ports["api"]),
                crl=Address(settings.listen, self._ports["crl"]),
                advertise=settings.advertise,
                metrics=Address(_LOOPBACK, self._ports["metrics"]) if settings.metrics else None,
                log_level=settings.log_level,
            )
            return [
                spawn_module(
                    "signer",
                    "inborn_ca.signer",
                    lambda ready_fd: SignerStart(settings=signer, front_fd=signer_fd, ready_fd=ready_fd),
                    pass_fds=[signer_fd, directory.lock_fd],
                    account=self._signer_account,
                ),
                spawn_module(
                    "front",
                    "inborn_ca.front",
                    lambda ready_fd: FrontStart(settings=front, signer_fd=front_fd, ready_fd=ready_fd),
                    pass_fds=[front_fd],
                    account=self._front_account,
                ),
            ]

    def _start_agent(self) -> Sequence[SupervisedChild]:
        settings, directory = self.settings, self._locked()
        if settings.agent is None:
            raise InternalError("there is no agent to start")
        options = replace(
            settings.agent,
            ca=str(Address(Address(settings.listen, self._ports["bootstrap"]).dial_host, self._ports["bootstrap"])),
            join_admin_socket=paths.admin_socket(directory.path),
            data_dir=directory.path,
            socket=self._socket,
            metrics_address=self._agent_metrics(),
        )
        return [
            spawn_module(
                "agent",
                "inborn_agent",
                lambda ready_fd: replace(options, ready_fd=ready_fd),
                pass_fds=[directory.lock_fd],
            )
        ]

    def _agent_metrics(self) -> str:
        """Where the agent's are: where it was told, else on a kept port beside the CA's; empty: nowhere."""
        named = self.settings.agent.metrics_address if self.settings.agent is not None else ""
        if named or not self.settings.metrics:
            return named
        return str(Address(_LOOPBACK, self._ports["agent_metrics"]))

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Once the CA serves, start the agent; once all serve, say so."""
        if self._ca.state is not UnitState.SERVING:
            return
        if self.settings.agent is not None and self._agent.state is UnitState.IDLE:
            self._agent.start()
            return
        if self._is_announced or (self.settings.agent is not None and self._agent.state is not UnitState.SERVING):
            return
        self._is_announced = True
        self._locked().trust_domain_is_kept()
        self._trust_domain = self.settings.trust_domain
        self._announce(self._ca.facts.get("trust_domain", ""))
        _notify("READY=1")

    def _announce(self, trust_domain: str) -> None:
        """The one thing that a script wants on standard output; what a person wants to know next on the other."""
        settings = self.settings
        bootstrap = Address(settings.advertise or settings.listen, self._ports["bootstrap"])
        named = settings.data_dir != paths.data_dir()
        if "INBORN_DATA_DIR" in os.environ:
            named = True
        lines = [f"trust domain {trust_domain}, data in {settings.data_dir}"]
        if self.settings.agent is not None:
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
        metrics = [str(Address(_LOOPBACK, self._ports["metrics"]))] if settings.metrics else []
        if settings.agent is not None and (of_agent := self._agent_metrics()):
            metrics.append(of_agent)
        if metrics:
            lines.insert(2, "metrics at " + ", ".join(f"http://{address}/metrics" for address in metrics))
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
        _log.warning("supervisor.notify_failed", error=e.strerror)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the process."""
    return run_with_settings(sys.argv[1:] if arguments is None else arguments, CaSettings, _run)


def _run(settings: CaSettings) -> int:
    configure(settings.log_level)
    try:
        return Supervisor(settings).run()
    except OSError as e:  # a full disk, no more processes: nothing of ours is wrong
        say_error(f"{e.filename or settings.data_dir}: {(e.strerror or str(e)).lower()}")
        return 1
