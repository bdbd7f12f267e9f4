"""The agent's own identity: enrolled with some evidence, renewed every day, enrolled anew when it cannot be renewed.

Theory of operation. `source` is what the tunnel to the CA presents and trusts: our certificate, our own trust domain's
bundle, the live revocations. The successor key is on disk before the CA is asked to certify it, so that neither a lost
reply nor a crash makes a second one. Enrollment happens only without a usable certificate: there is none, it has
expired, or it is revoked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
from collections.abc import Callable

from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.source.snapshot import Snapshot, StaticSource
from inborn._internal.spiffe.rotation import Schedule, renewal_time, retry_delay
from inborn._internal.spiffe.spiffe_id import RESERVED_PREFIX, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError, InbornError, RequestError, UnauthenticatedError, moment
from inborn_agent.ca.joining import Joiner, NoEvidenceYet
from inborn_agent.disk.identity_store import IdentityRecord, IdentityStore
from inborn_agent.live.live_cache import Clock, utc_now
from inborn_agent.metrics import Metrics
from inborn_member.authority_client import AuthorityClient
from inborn_member.bootstrap import enroll, find_api_address
from inborn_member.request_numbers import RequestNumbers

__all__ = ["NotAnAgent", "OwnIdentity", "WrongTrustDomain"]

_log = get_logger("agent.identity")

RENEW_EVERY = dt.timedelta(days=1)
"""However long the certificate lives: a machine that is off for a weekend comes back."""

_TOKEN_POLL = dt.timedelta(seconds=2)
"""How often the token file is looked at where a new token is needed."""

_LONGEST_SLEEP = dt.timedelta(seconds=30)
"""The clock is looked at this often: it may have been set."""


class WrongTrustDomain(RequestError):
    """Evidence is for another trust domain than the agent's."""


class NotAnAgent(RequestError):
    """Evidence enrolls something else than an agent."""


class OwnIdentity:
    """Belongs to one event loop. `run` keeps the identity good; `client` waits until the CA can be asked."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        store: IdentityStore,
        joiner: Joiner,
        metrics: Metrics,
        *,
        revocations: RevocationSet,
        record: IdentityRecord | None,
        ca: str = "",
        clock: Clock = utc_now,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.trust_domain = trust_domain
        self.record = record
        self._store = store
        self._joiner = joiner
        self._ca = ca
        self._metrics = metrics
        self._now = clock
        self._spread = spread
        self._revocations = revocations
        self._schedule: Schedule | None = None
        self._wake = asyncio.Event()
        self._is_refused = False
        self.on_standing: Callable[[], None] = lambda: None
        """Called when our certificate is revoked, and when there is a new one."""
        self._client: AuthorityClient | None = None
        self._closing: asyncio.Task[None] | None = None
        self._has_client = asyncio.Event()
        self.source = StaticSource(self._snapshot(record, record.bundle if record is not None else None))
        if record is not None:
            if record.token_id:
                joiner.spent(record.token_id)
            self._adopt(record)

    @property
    def svid(self) -> X509Svid | None:
        return self.record.svid if self.record is not None else None

    def complaints(self) -> list[str]:
        """What is wrong with the agent's own certificate now, in words for an admin."""
        if self.record is None:
            return []
        facts, now = self.record.svid.facts, self._now()
        found = []
        if self.is_revoked:
            found.append("its own certificate is revoked: it gives nobody an identity until it enrolls anew")
        if now < facts.not_before:
            found.append(
                f"its own certificate is valid from {moment(facts.not_before)}, now {moment(now)}: a clock is off"
            )
        return found

    @property
    def is_revoked(self) -> bool:
        """Whether our own certificate falls under a revocation that we know."""
        return self.record is not None and self._revocations.find(self.record.svid.facts) is not None

    async def client(self) -> AuthorityClient:
        """The CA's client, once there is an identity to speak with."""
        while self._client is None or not self._is_usable():
            self._has_client.clear()
            await self._has_client.wait()
        return self._client

    def trust(self, bundle: X509Bundle | None, log_id: bytes) -> None:
        """The feed brought a bundle, revocations or another log_id: connections are judged by them from now on."""
        if bundle is not None and self.record is not None:
            known = self.source.snapshot().bundles.get(self.trust_domain)
            if known is None or known.der() != bundle.der():
                self.source.replace(self._snapshot(self.record, bundle))
            else:
                # The same objects, so that channels stay; but live connections are looked at again.
                self.source.replace(dataclasses.replace(self.source.snapshot()))
        if self._client is not None:
            self._client.log_id = log_id
        if self.is_revoked:
            self.on_standing()
        if not self._is_usable():
            self._wake.set()

    def refused(self, error: InbornError) -> None:
        """The CA does not take our certificate any more, or our signature."""
        if isinstance(error, UnauthenticatedError):
            self._is_refused = True
            self._wake.set()

    async def relocate(self) -> None:
        """Nobody answers at the API port: ask at the bootstrap port where it is now. Where nobody answers there either,
        whoever called goes on trying."""
        record = self.record
        if record is None or not self._ca or not self._is_usable():
            return
        try:
            address = await find_api_address(self.source, self._ca)
        except InbornError:
            return
        if address != record.api_address and self.record is record:
            await self._take(dataclasses.replace(record, api_address=address), "agent.ca_moved")

    def rotate(self) -> None:
        """Renew at once."""
        if self._schedule is not None:
            self._schedule.hurry(self._now())
        self._wake.set()

    async def run(self) -> None:
        """Enroll where that is needed, renew in time. Raises what makes a first enrollment impossible."""
        failures = 0
        while True:
            self._wake.clear()
            if not self._is_usable():
                failures = await self._try_to_enroll(failures)
                continue
            if self._is_refused:
                # A certificate that looks good and is not taken: the CA knows better. Ask to renew, then enroll.
                self._is_refused = False
                if not await self._renew() and self._is_refused:
                    failures = await self._try_to_enroll(failures)
                continue
            failures = 0
            schedule = self._schedule
            if schedule is not None and schedule.is_due(self._now()):
                await self._renew()
                continue
            pause = _LONGEST_SLEEP if schedule is None else min(schedule.next_attempt - self._now(), _LONGEST_SLEEP)
            await self._sleep(pause)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    # Renewal.

    async def _renew(self) -> bool:
        client, record = self._client, self.record
        if client is None or record is None:
            return False
        try:
            successor = await asyncio.to_thread(self._store.successor, record.svid)
            bundle = self.source.snapshot().bundles[self.trust_domain]
            enrolled = await client.renew(successor, bundle)
        except InbornError as error:
            self._metrics.count("inborn_agent_renewals_total", result=error.kind)
            _log.warning("agent.renewal_failed", kind=error.kind, reason=error.message, hint=error.hint)
            self.refused(error)
            if self._schedule is not None:
                self._schedule.failed(self._now(), spread=self._spread())
            return False
        self._metrics.count("inborn_agent_renewals_total", result="ok")
        await self._take(IdentityRecord.of(enrolled, token_id=record.token_id), "agent.renewed")
        return True

    # Enrollment.

    async def _try_to_enroll(self, failures: int) -> int:
        """One attempt; returns how many have failed in a row. Raises where it is the first and there is no hope."""
        agent = self.record.svid.spiffe_id if self.record is not None else None
        try:
            evidence, address = await self._joiner.evidence(agent)
            if evidence.trust_domain != self.trust_domain:
                self._joiner.spent(evidence.id)
                raise WrongTrustDomain(
                    f"evidence is for trust domain {evidence.trust_domain}, this agent is of {self.trust_domain}",
                    hint="choose another directory with --data-dir",
                )
            key = await asyncio.to_thread(self._store.enrolling_key, evidence.id)
            try:
                enrolled = await enroll(evidence, address, key)
                if not enrolled.svid.spiffe_id.path.startswith(RESERVED_PREFIX + "agent/"):
                    raise NotAnAgent(f"evidence enrolls {enrolled.svid.spiffe_id}, which is no agent")
            except (RequestError, DeniedError):
                self._joiner.spent(evidence.id)
                raise
        except NoEvidenceYet as error:
            if failures % 15 == 0:  # once in half a minute
                _log.warning("agent.needs_evidence", reason=error.message, hint=error.hint)
            await self._sleep(_TOKEN_POLL)
            return failures + 1
        except (RequestError, DeniedError) as error:
            _log.warning("agent.enrollment_refused", kind=error.kind, reason=error.message, hint=error.hint)
            if self.record is None:
                raise
            pause = retry_delay(failures + 1, remaining=dt.timedelta(0), spread=self._spread())
            await self._sleep(max(_TOKEN_POLL, pause))
            return failures + 1
        except InbornError as error:
            _log.warning("agent.enrollment_failed", kind=error.kind, reason=error.message)
            await self._sleep(retry_delay(failures + 1, remaining=dt.timedelta(0), spread=self._spread()))
            return failures + 1
        self._joiner.spent(evidence.id)
        await self._take(IdentityRecord.of(enrolled, token_id=evidence.id), "agent.enrolled")
        return 0

    async def _take(self, record: IdentityRecord, event: str) -> None:
        """Keep it, then use it."""
        await asyncio.to_thread(self._store.save, record)
        self._is_refused = False
        self._adopt(record)
        facts = record.svid.facts
        _log.event(event, spiffe_id=facts.spiffe_id, serial=facts.serial.hex(), not_after=facts.not_after.isoformat())

    def _adopt(self, record: IdentityRecord) -> None:
        """Present this certificate from now on, and count requests by its key's numbers."""
        now = self._now()
        is_new_key = self.record is None or self.record.svid.private_key is not record.svid.private_key
        self.record = record
        facts = record.svid.facts
        issued_at = record.svid.issued_at or facts.not_before
        life_end = min(facts.not_after, issued_at + 2 * RENEW_EVERY)
        self._schedule = Schedule(issued_at, facts.not_after, renewal_time(issued_at, life_end, spread=self._spread()))
        known = self.source.snapshot().bundles.get(self.trust_domain)
        self.source.replace(self._snapshot(record, known or record.bundle))
        reserved = self._store.reserved_number(record.svid, now)
        numbers = RequestNumbers(reserved, lambda number: self._store.reserve_numbers(record.svid, number))
        if self._client is None or self._client.address != record.api_address:
            former, self._client = (
                self._client,
                AuthorityClient(self.source, record.api_address, log_id=record.log_id, numbers=numbers),
            )
            if former is not None:
                self._closing = asyncio.get_running_loop().create_task(former.close())
        elif is_new_key:
            self._client.log_id = record.log_id
            self._client.use_numbers(numbers)
        if self._is_usable():
            self._has_client.set()
            self.on_standing()

    def _is_usable(self) -> bool:
        if self.record is None:
            return False
        facts = self.record.svid.facts
        return self._now() < facts.not_after and not self.is_revoked

    def _snapshot(self, record: IdentityRecord | None, bundle: X509Bundle | None) -> Snapshot:
        return Snapshot(
            trust_domain=self.trust_domain,
            svids=(record.svid,) if record is not None else (),
            bundles={self.trust_domain: bundle} if bundle is not None else {},
            revocations=self._revocations,
            reason="" if record is not None else "the agent is not enrolled",
        )

    async def _sleep(self, pause: dt.timedelta) -> None:
        try:
            async with asyncio.timeout(max(0.0, pause.total_seconds())):
                await self._wake.wait()
        except TimeoutError:
            pass
