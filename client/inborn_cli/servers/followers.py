"""Whoever has to be told that files have changed, each in a thread of its own that does not give up."""

from __future__ import annotations

import datetime as dt
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inborn._internal.host.talk import say, say_error
from inborn.errors import InbornError, moment
from inborn_cli.servers.haproxy_runtime import HaproxyRuntime
from inborn_cli.servers.presented import CheckedServer, NotPresented
from inborn_cli.servers.reload import CommandReload, Reload
from inborn_cli.servers.revoked_serials import DECIMAL_FILE, REVOKED_FILE
from inborn_cli.workload.identity_files import BUNDLE_FILE, COMBINED_FILE, CRL_FILE, crl_issuers

__all__ = ["Follower", "HaproxyFollower", "PublishedFiles", "ReloadFollower"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts
# Seconds in which a server that was told shows the new certificate: nginx takes 0.2, and 6 with a very long CRL.
_CHECK_TIME = 10.0
_CHECK_EVERY = 0.1  # seconds
_TEND_EVERY = 5.0  # seconds: so long may a connection outlive its certificate's end
_LOOK_EVERY = 600.0  # seconds between looks at the end of HAProxy's CRLs
_CRL_MARGIN = dt.timedelta(hours=6)  # a quarter of a CRL's life; a file has at least half of it before it
_LISTS = frozenset({REVOKED_FILE, DECIMAL_FILE})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFiles:
    """What lies in the directory now."""

    directory: Path
    files: Mapping[str, bytes]
    leaf: bytes
    """The certificate that a server presents once it has read them, DER."""


class Follower(ABC):
    """Is given the newest files, and tries until it has done with them what it must. Never raises."""

    def __init__(self, *, tend_every: float | None = None) -> None:
        self._changed = threading.Condition()
        self._newest: PublishedFiles | None = None
        self._tend_every = tend_every
        threading.Thread(target=self._run, name=type(self).__name__, daemon=True).start()

    def follow(self, published: PublishedFiles) -> None:
        """There are newer files."""
        with self._changed:
            self._newest = published
            self._changed.notify()

    @abstractmethod
    def apply(self, published: PublishedFiles) -> None:
        """Do it. Raises `InbornError`, and is then called again, with what is the newest by then."""

    def tend(self, published: PublishedFiles) -> None:  # noqa: B027 -- not everybody has something to tend
        """Called every so often while nothing has changed."""

    def _run(self) -> None:
        done: PublishedFiles | None = None
        tried: PublishedFiles | None = None
        pause = 0.0  # 0: the last attempt has not failed
        while True:
            published = self._wait(tried, pause or self._tend_every)
            if published is None:
                continue
            tried = published
            try:
                if published is done:
                    self.tend(published)
                else:
                    self.apply(published)
                    done = published
                pause = 0.0
            except InbornError as error:
                say_error(f"{error.message}; trying again")
                done, pause = None, min(_LONGEST_PAUSE, max(_FIRST_PAUSE, pause * 2))

    def _wait(self, tried: PublishedFiles | None, seconds: float | None) -> PublishedFiles | None:
        """What is newest, as soon as that is something else, or after these seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not tried, seconds)
            return self._newest

    def _is_newest(self, published: PublishedFiles) -> bool:
        with self._changed:
            return self._newest is published


class _Check:
    """Looks whether a server presents what was written; without a server there is nothing to see."""

    def __init__(self, server: CheckedServer | None) -> None:
        self._server = server
        self._seen = b""

    def run(self, published: PublishedFiles, is_newest: Callable[[], bool]) -> None:
        """Wait until it presents the certificate, or until there are newer files to tell it of. Raises
        `NotPresented` after a while."""
        end = time.monotonic() + _CHECK_TIME
        while self._server is not None and self._seen != published.leaf and is_newest():
            try:
                self._server.check(published.directory / COMBINED_FILE, published.leaf)
                self._seen = published.leaf
            except NotPresented:
                if time.monotonic() >= end:
                    raise
                time.sleep(_CHECK_EVERY)


class ReloadFollower(Follower):
    """Tells a program by signal or command, and looks whether it presents the new certificate."""

    def __init__(self, reload: Reload | None, server: CheckedServer | None) -> None:
        self._reload = reload
        self._check = _Check(server)
        self._applied: Mapping[str, bytes] = {}
        super().__init__()

    def apply(self, published: PublishedFiles) -> None:
        if self._reload is not None and self._needs_reload(published.files):
            self._reload.run()
            say("told of new files")
        self._applied = {}  # it is told again if what follows fails
        self._check.run(published, lambda: self._is_newest(published))
        self._applied = published.files

    def _needs_reload(self, files: Mapping[str, bytes]) -> bool:
        """A list of serials alone is for commands: no server reads it by itself, and the CRL follows it."""
        changed = {name for name, content in files.items() if self._applied.get(name) != content}
        return bool(changed) if isinstance(self._reload, CommandReload) else bool(changed - _LISTS)


class HaproxyFollower(Follower):
    """Tells HAProxy by its socket, and has it reloaded for what it cannot be told: other roots, CRLs that run out."""

    def __init__(
        self,
        runtime: HaproxyRuntime,
        *,
        reload: Reload | None,
        server: CheckedServer | None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._runtime = runtime
        self._reload = reload
        self._clock = clock
        self._check = _Check(server)
        self._has_told = False
        self._bundle = b""
        self._crls = b""
        self._next_look = 0.0
        super().__init__(tend_every=_TEND_EVERY)

    def apply(self, published: PublishedFiles) -> None:
        self.tend(published)
        if not self._has_told and not self._runtime.has_sessions:
            say("HAProxy's configuration does not track sessions: open connections in TCP mode are not ended")
        self._has_told = True
        self._check.run(published, lambda: self._is_newest(published))

    def tend(self, published: PublishedFiles) -> None:
        """It may have been started anew; sessions may have outlived their certificates; CRLs run out."""
        now = self._clock()
        self._runtime.tell(published.files, now)
        bundle = published.files[BUNDLE_FILE]
        if self._bundle not in (b"", bundle):
            self._have_reloaded("there are other roots")
        self._bundle = bundle
        self._see_to_new_authorities(published.files[CRL_FILE])
        if time.monotonic() >= self._next_look:
            end = self._runtime.crls_end()
            if end is not None and end - now < _CRL_MARGIN:
                self._have_reloaded(f"its CRLs end at {moment(end)}, and then it refuses everybody")
            self._next_look = time.monotonic() + _LOOK_EVERY

    def _see_to_new_authorities(self, crls: bytes) -> None:
        """A CRL of an authority that is new to it must be read before that authority signs anything."""
        if crls == self._crls:
            return
        if self._runtime.lacks_crls_of(crl_issuers(crls)):
            self._have_reloaded("there is a CRL of another authority, without which it refuses whom that one signs")
        self._crls = crls

    def _have_reloaded(self, why: str) -> None:
        if self._reload is None:
            say_error(f"HAProxy has to be reloaded: {why}; --reload-command or --reload-signal would do it")
            return
        say(f"reloading HAProxy: {why}")
        self._reload.run()
