"""An identity without an agent: `inborn.enroll`.

    with inborn.enroll(ca="ca.example.org:8080", join_token_file="token", directory="/var/lib/web/identity") as source:
        context = inborn.server_context(source, inborn.authorize_any())

Theory of operation. The first start enrolls with the token; every later one resumes from the directory and needs none.
Two tasks on the background loop keep it alive. *Renewal*: at half of the certificate's life a successor key, written to
disk before, is asked for with a request signed by the key in use; a lost reply is asked for again with the same
successor. *Watch*: the CA's feed, verified message by message, brings revocations and new roots; they are kept, so that
a restart without the CA refuses whom it refused before. While the CA is away both come back with growing pauses.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.feed.feed_answers import FeedAnswers
from inborn._internal.feed.feed_content import DomainUpdate, Heartbeat
from inborn._internal.feed.feed_verifier import FeedUpdate, FeedVerifier
from inborn._internal.host.paths import data_dir
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.source.background import run_in_background
from inborn._internal.source.snapshot import NoIdentity, Snapshot, SnapshotCallback, StaticSource
from inborn._internal.spiffe.rotation import Schedule
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, SpiffeId
from inborn._internal.spiffe.x509_svid import PrivateKey, X509Svid, key_sha256
from inborn._internal.tls.tunnel import split_target
from inborn.errors import InbornError, RequestError, UnavailableError
from inborn_member.authority_client import AuthorityClient
from inborn_member.bootstrap import enroll as enroll_with
from inborn_member.daemon_state import DaemonIdentity, DaemonState
from inborn_member.enrolled import Enrolled
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.request_numbers import RequestNumbers

__all__ = ["EnrolledSource", "WrongIdentity", "enroll"]

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts to reach the CA
_FIRST_MESSAGE = 30.0  # seconds until a stream that was opened must have said something
_SHORTEST_PATIENCE = 5.0  # seconds of silence that are never held against the CA; else three heartbeats
_LONGEST_NAP = 30.0  # seconds between two looks at the wall clock: somebody may set it
_CLOSING = 5.0  # seconds that closing may take before it is left to itself


class WrongIdentity(RequestError):
    """The directory, or the CA's answer, is for somebody else."""


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
    when the certificate has expired; a token other than the one that the directory was enrolled with enrolls anew.
    `directory` is this daemon's alone; by default `daemon` below the user's data directory. `spiffe_id` refuses any
    other. Entering raises errors of `inborn.errors`; it waits up to `timeout` seconds for a CA that does not answer.
    """
    split_target(ca)
    if token is not None and join_token_file is not None:
        raise RequestError("give a join token or a file that holds one, not both")
    return EnrolledSource(
        ca=ca,
        directory=Path(directory) if directory is not None else data_dir() / "daemon",
        token=_token(token, join_token_file),
        spiffe_id=spiffe_id,
        timeout=timeout,
    )


def _token(token: JoinToken | str | None, file: str | Path | None) -> JoinToken | None:
    """The token; a file that is gone after the first start is as good as none."""
    if file is not None:
        try:
            token = Path(file).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as e:
            raise RequestError(f"cannot read the join token's file {file}: {e.strerror}") from e
    return parse_join_token(token) if isinstance(token, str) else token


class EnrolledSource:
    """See `enroll`. All methods may be called from any thread."""

    def __init__(
        self, *, ca: str, directory: Path, token: JoinToken | None, spiffe_id: SpiffeId | None, timeout: float
    ) -> None:
        self._daemon = _Daemon(ca, directory, token, spiffe_id, timeout)
        self._running: Future[None] | None = None

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
            log.warning("daemon does not stop")

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

    def __init__(
        self, ca: str, directory: Path, token: JoinToken | None, spiffe_id: SpiffeId | None, timeout: float
    ) -> None:
        self._ca = ca
        self._directory = directory
        self._token = token
        self._wanted = spiffe_id
        self._timeout = timeout
        self._tasks: list[asyncio.Task[None]] = []
        self._client: AuthorityClient | None = None
        self._state: DaemonState | None = None
        self._identity: DaemonIdentity | None = None
        self._changing = asyncio.Lock()  # what is held and what is kept change together
        self._answers = FeedAnswers(random.random)
        self._hurry = asyncio.Event()
        self.held = StaticSource(
            Snapshot(trust_domain=None, svids=(), bundles={}, reason="the daemon has not enrolled yet")
        )

    async def start(self) -> None:
        """Resume or enroll, and begin to renew and to watch."""
        self._state = state = await asyncio.to_thread(DaemonState, self._directory)
        try:
            revocations = await asyncio.to_thread(state.revocations)
            identity = await self._resume_or_enroll(state)
            self._use(identity, revocations)
            self._client = AuthorityClient(
                self.held, identity.api_address, log_id=identity.log_id, numbers=self._numbers(state, identity.svid)
            )
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._keep_renewed(state, self._client)),
                loop.create_task(self._keep_watching(state, self._client)),
            ]
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._state is not None:
            self._state.close()
            self._state = None

    # -- getting in ----------------------------------------------------------------------------------------------------

    async def _resume_or_enroll(self, state: DaemonState) -> DaemonIdentity:
        kept = await asyncio.to_thread(state.identity)
        token = self._token
        if kept is not None:
            self._check(kept.svid.spiffe_id)
            if token is not None and token.trust_domain != kept.bundle.trust_domain:
                raise WrongIdentity(
                    f"{self._directory} holds {kept.svid.spiffe_id}, the token is of {token.trust_domain}",
                    hint="each daemon has a directory of its own",
                )
            is_alive = dt.datetime.now(dt.UTC) < kept.svid.leaf.not_valid_after_utc
            if is_alive and (token is None or token.id == kept.token_id):
                return kept
        if token is None:
            raise NoIdentity(
                f"{self._directory} holds no identity{'' if kept is None else ' that has not expired'}",
                hint="give a join token: `inborn token create --id spiffe://...` makes one",
            )
        key = await asyncio.to_thread(state.next_key, token.id)
        enrolled = await self._enroll(token, key)
        self._check(enrolled.svid.spiffe_id)
        identity = _identity(enrolled, token.id)
        await asyncio.to_thread(state.keep_identity, identity)
        return identity

    async def _enroll(self, token: JoinToken, key: PrivateKey) -> Enrolled:
        """Ask until somebody answers, with the same key; a refusal is final."""
        end = time.monotonic() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return await enroll_with(TokenEvidence(token), self._ca, key)
            except UnavailableError:
                if time.monotonic() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _check(self, spiffe_id: SpiffeId) -> None:
        if self._wanted is not None and spiffe_id != self._wanted:
            raise WrongIdentity(f"identity is {spiffe_id}, wanted is {self._wanted}")
        if spiffe_id.path.startswith(RESERVED_PREFIX):
            raise WrongIdentity(f"the token is an agent's: it gave {spiffe_id}", hint="a daemon's is made with --id")

    # -- staying -------------------------------------------------------------------------------------------------------

    def _use(self, identity: DaemonIdentity, revocations: RevocationSet) -> None:
        """Publish an identity that is kept on disk already; one that is revoked is used no more."""
        before = self.held.snapshot()
        self._identity = identity
        revocation = revocations.find(identity.svid.facts)
        svids = () if revocation is not None else (identity.svid,)
        bundles = {identity.bundle.trust_domain: identity.bundle}
        self.held.replace(
            dataclasses.replace(
                before,
                trust_domain=identity.bundle.trust_domain,
                svids=before.svids if before.svids == svids else svids,
                bundles=before.bundles if dict(before.bundles) == bundles else bundles,
                revocations=revocations,
                reason=""
                if revocation is None
                else f"own certificate is revoked by {revocation.target} (revocation {revocation.seq})",
            )
        )

    def _numbers(self, state: DaemonState, svid: X509Svid) -> RequestNumbers:
        key = svid.private_key
        return RequestNumbers(state.reserved_number(key), lambda number: state.reserve_number(key, number))

    async def _keep_renewed(self, state: DaemonState, client: AuthorityClient) -> None:
        schedule = _schedule(self._current().svid)
        while True:
            now = dt.datetime.now(dt.UTC)
            if self._hurry.is_set():
                self._hurry.clear()
                schedule.hurry(now)
            if not schedule.is_due(now):
                nap = min(_LONGEST_NAP, (schedule.next_attempt - now).total_seconds() + 0.001)
                with suppress(TimeoutError):
                    async with asyncio.timeout(nap):
                        await self._hurry.wait()
                continue
            try:
                await self._renew(state, client)
                schedule = _schedule(self._current().svid)
            except InbornError as e:
                log.warning("renewal failed reason=%s", e)
                schedule.failed(dt.datetime.now(dt.UTC), spread=random.random())

    async def _renew(self, state: DaemonState, client: AuthorityClient) -> None:
        current = self._current()
        purpose = key_sha256(current.svid.private_key.public_key())
        successor = await asyncio.to_thread(state.next_key, purpose)
        enrolled = await client.renew(successor, current.bundle)
        async with self._changing:
            # The feed may have brought another bundle meanwhile: what is held now counts.
            renewed = dataclasses.replace(self._current(), svid=enrolled.svid)
            await asyncio.to_thread(state.keep_identity, renewed)
            self._use(renewed, self.held.snapshot().revocations)
            client.use_numbers(self._numbers(state, renewed.svid))
        log.info("renewed id=%s until=%s", renewed.svid.spiffe_id, renewed.svid.leaf.not_valid_after_utc)

    async def _keep_watching(self, state: DaemonState, client: AuthorityClient) -> None:
        verifier = FeedVerifier(trust_domain=self._current().bundle.trust_domain)
        pause, told = _FIRST_PAUSE, ""
        while True:
            try:
                svid = self._current().svid
                stream = await client.watch(log_id=verifier.log_id, domain_revision=verifier.domain_revision)
                patience = _FIRST_MESSAGE
                try:
                    while True:
                        async with asyncio.timeout(patience):
                            message = await anext(stream)
                        snapshot = self.held.snapshot()
                        update = verifier.receive(
                            message,
                            bundle=self._current().bundle,
                            revocations=snapshot.revocations,
                            now=dt.datetime.now(dt.UTC),
                        )
                        await self._apply(state, client, update)
                        seq, own = self.held.snapshot().revocations.seq, self._current().svid
                        ack = self._answers.answer(update, seq, time.monotonic(), own=own, connection=svid)
                        if ack is not None:
                            await stream.ack(ack)
                        if isinstance(update.content, Heartbeat):
                            patience = max(_SHORTEST_PATIENCE, 3 * update.content.interval.total_seconds())
                        pause = _FIRST_PAUSE
                finally:
                    stream.cancel()
            except InbornError as e:
                if told != str(e):  # it is tried again and again
                    log.warning("feed ended reason=%s", e)
                told = str(e)
            except TimeoutError:
                log.warning("feed is silent seconds=%g", patience)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _apply(self, state: DaemonState, client: AuthorityClient, update: FeedUpdate) -> None:
        """Take in what is new, let every open connection be looked at, and keep it."""
        content = update.content
        if update.is_new and isinstance(content, DomainUpdate):
            async with self._changing:
                revocations = self._apply_domain(update, content)
                client.log_id = update.log_id
                await asyncio.to_thread(state.keep_identity, self._current())
                await asyncio.to_thread(state.keep_revocations, revocations)
        if update.is_fresh:
            self.held.touch(dataclasses.replace(self.held.snapshot(), heard_at=time.monotonic()))

    def _apply_domain(self, update: FeedUpdate, content: DomainUpdate) -> RevocationSet:
        revocations = self.held.snapshot().revocations
        if revocations.log_id not in (b"", update.log_id):
            log.warning("the CA's database is another one, what was revoked stays log_id=%s", update.log_id.hex())
        if content.log is not None:
            revocations.apply_log(content.log)
        else:
            revocations.apply_delta(update.log_id, content.revocation_seq, content.revocations, content.dropped)
        if content.authorities:
            self._answers.learn(content.authorities)
            if self._answers.is_outdated(self._current().svid):
                self._hurry.set()
            crls = tuple(authority.crl for authority in content.authorities if authority.crl)
            self.held.touch(dataclasses.replace(self.held.snapshot(), crls=crls))
        bundle = content.bundle or self._current().bundle
        self._use(dataclasses.replace(self._current(), log_id=update.log_id, bundle=bundle), revocations)
        return revocations

    def _current(self) -> DaemonIdentity:
        assert self._identity is not None  # noqa: S101 # tasks are started after it is there
        return self._identity


def _identity(enrolled: Enrolled, token_id: bytes) -> DaemonIdentity:
    return DaemonIdentity(
        svid=enrolled.svid,
        bundle=enrolled.bundle,
        api_address=enrolled.api_address,
        log_id=enrolled.log_id,
        token_id=token_id,
    )


def _schedule(svid: X509Svid) -> Schedule:
    """When to renew. If the clock was set back since the certificate was issued, now counts as the moment of issue."""
    now = dt.datetime.now(dt.UTC)
    issued_at = min(svid.issued_at or now, now)
    return Schedule.after_issue(issued_at, svid.leaf.not_valid_after_utc, spread=random.random())
