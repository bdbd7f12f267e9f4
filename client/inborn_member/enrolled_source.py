"""An identity without an agent: `inborn.enroll`.

    with inborn.enroll(ca="ca.example.org:8080", join_token_file="token", directory="/var/lib/web/identity") as source:
        context = inborn.server_context(source, inborn.authorize_any())

The first start enrolls with the token; every later one resumes from the directory and needs none. Two tasks on the
background loop keep it alive: `OwnIdentity` renews at half of the certificate's life, and `FeedFollower` brings
revocations and new roots, which are kept, so that a restart without the CA refuses whom it refused before.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from inborn._internal.address import parse_target
from inborn._internal.enrollment.join_token import JoinToken
from inborn._internal.host.directory_lock import DirectoryLock
from inborn._internal.host.files import private_directory
from inborn._internal.host.log import get_logger
from inborn._internal.host.paths import data_dir
from inborn._internal.source.background import run_in_background
from inborn._internal.source.snapshot import NoIdentity, Snapshot, SnapshotCallback, StaticSource
from inborn._internal.spiffe.rotation import retry_delay
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import RequestError, UnavailableError
from inborn_member.daemon_feed import DaemonFeed
from inborn_member.evidence_way_in import EvidenceWayIn
from inborn_member.feed_follower import FeedFollower
from inborn_member.former_daemon_files import carry_over
from inborn_member.given_token import GivenToken
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.kept_revocations import KeptRevocations
from inborn_member.own_identity import OwnIdentity
from inborn_member.way_in import NoEvidence, WrongIdentity

__all__ = ["EnrolledSource", "enroll"]

_log = get_logger("daemon")

_LONGEST_PAUSE = 5.0  # seconds between two attempts to get in
_CLOSING = 5.0  # seconds that closing may take before it is left to itself


def enroll(
    token: JoinToken | str | None = None,
    *,
    ca: str,
    directory: str | Path | None = None,
    join_token_file: str | Path | None = None,
    spiffe_id: SpiffeId | None = None,
    timeout: float = 30.0,
) -> EnrolledSource:
    """A live `IdentitySource` of a daemon that enrolls by itself. Use it as a context manager, `with` or `async with`.

    `ca` is `host:port` of the CA's bootstrap port. `token`, or the file that holds it, is needed at the first start and
    when the certificate has expired or is revoked; a token other than the one that the directory was enrolled with
    enrolls anew. The file is read again where a new token is needed while the daemon runs. `directory` is this daemon's
    alone; by default `daemon` below the user's data directory. `spiffe_id` refuses any other. Entering raises errors of
    `inborn.errors`; it waits up to `timeout` seconds for a CA that does not answer.
    """
    parse_target(ca)
    if token is not None and join_token_file is not None:
        raise RequestError("give a join token or a file that holds one, not both")
    return EnrolledSource(
        directory=Path(directory) if directory is not None else data_dir() / "daemon",
        tokens=GivenToken(token, join_token_file, ca),
        spiffe_id=spiffe_id,
        timeout=timeout,
    )


class EnrolledSource:
    """See `enroll`. All methods may be called from any thread."""

    def __init__(self, *, directory: Path, tokens: GivenToken, spiffe_id: SpiffeId | None, timeout: float) -> None:
        self._daemon = _Daemon(directory, tokens, spiffe_id, timeout)

    def snapshot(self) -> Snapshot:
        return self._daemon.held.snapshot()

    def subscribe(self, callback: SnapshotCallback) -> Callable[[], None]:
        return self._daemon.held.subscribe(callback)

    @property
    def svid(self) -> X509Svid:
        """The identity that is presented now. Raises `NoIdentity`."""
        return self.snapshot().svid(dt.datetime.now(dt.UTC))

    def close(self) -> None:
        """Stop renewing and watching; the directory can be opened again. The last snapshot stays."""
        try:
            run_in_background(self._daemon.stop()).result(_CLOSING)
        except TimeoutError:
            _log.warning("daemon.does_not_stop")

    def __enter__(self) -> Self:
        opening = run_in_background(self._daemon.start())
        try:
            opening.result()
        except BaseException:
            opening.cancel()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.wrap_future(run_in_background(self._daemon.start()))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class _Daemon:
    """Everything that happens on the background loop."""

    def __init__(self, directory: Path, tokens: GivenToken, spiffe_id: SpiffeId | None, timeout: float) -> None:
        self._directory = directory
        self._tokens = tokens
        self._wanted = spiffe_id
        self._timeout = timeout
        self._tasks: list[asyncio.Task[None]] = []
        self._lock: DirectoryLock | None = None
        self._own: OwnIdentity | None = None
        self.held = StaticSource(
            Snapshot(trust_domain=None, svids=(), bundles={}, reason="the daemon has not enrolled yet")
        )

    async def start(self) -> None:
        """Resume or enroll, and begin to renew and to watch."""
        self._lock = await asyncio.to_thread(lambda: DirectoryLock(private_directory(self._directory)))
        try:
            own, feed = await self._open()
            follower = FeedFollower("daemon", own, feed, feed.changed)
            self._tasks = [asyncio.create_task(own.run()), asyncio.create_task(follower.run())]
            for task in self._tasks:
                task.add_done_callback(_tell_of_its_end)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._own is not None:
            await self._own.close()
            self._own = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _open(self) -> tuple[OwnIdentity, DaemonFeed]:
        """The identity, resumed or enrolled, and what it knows to be revoked."""
        store, kept = IdentityStore(self._directory), KeptRevocations(self._directory)
        await asyncio.to_thread(carry_over, self._directory, store, kept)
        revocations = await asyncio.to_thread(kept.load)
        record = await asyncio.to_thread(store.load)
        if record is not None:
            self._check(record.svid.spiffe_id)
        token = await asyncio.to_thread(self._tokens.read)
        known = record or token
        if known is None:
            raise self._no_identity(record, "")
        trust_domain = known.trust_domain
        self._own = own = OwnIdentity(
            "daemon",
            trust_domain,
            store,
            EvidenceWayIn(trust_domain, self._tokens, self._check),
            revocations=revocations,
            record=record,
            ca=self._tokens.address,
            source=self.held,
        )
        own.trust(None, revocations.log_id)
        if record is None or own.is_expired or (token is not None and token.id != record.evidence):
            await self._get_in(own, record)
        else:
            self._tokens.spent(record.evidence)
        return own, DaemonFeed(own, kept, revocations)

    async def _get_in(self, own: OwnIdentity, record: IdentityRecord | None) -> None:
        """Ask until somebody answers, with the same key; a refusal is final."""
        end = time.monotonic() + self._timeout
        failures = 0
        while True:
            try:
                return await own.enroll()
            except NoEvidence as e:
                raise self._no_identity(record, e.message) from e
            except UnavailableError:
                failures += 1
                delay = retry_delay(failures, remaining=dt.timedelta(0), spread=random.random())
                pause = min(_LONGEST_PAUSE, delay.total_seconds())
                if time.monotonic() + pause > end:
                    raise
            await asyncio.sleep(pause)

    def _no_identity(self, record: IdentityRecord | None, reason: str) -> NoIdentity:
        return NoIdentity(
            f"{self._directory} holds no identity{'' if record is None else ' that has not expired'}"
            + (f": {reason}" if reason else ""),
            hint="give a join token: `inborn token create --id spiffe://...` makes one",
        )

    def _check(self, spiffe_id: SpiffeId) -> None:
        if self._wanted is not None and spiffe_id != self._wanted:
            raise WrongIdentity(f"identity is {spiffe_id}, wanted is {self._wanted}")
        if spiffe_id.path.startswith(RESERVED_PREFIX):
            raise WrongIdentity(f"the token is an agent's: it gave {spiffe_id}", hint="a daemon's is made with --id")


def _tell_of_its_end(task: asyncio.Task[None]) -> None:
    """A part that ends by itself is a bug, and somebody has to hear of it: the identity is not renewed any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("daemon.ended", reason=f"{type(error).__name__}: {error}")
