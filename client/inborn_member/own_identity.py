"""A member's own identity: enrolled with evidence, renewed in time, enrolled anew when it cannot be renewed. The one
under the agent and under a daemon that enrolls without one.

Theory of operation. `source` is what the member presents and trusts: its certificate, its own trust domain's bundle,
the live revocations. The successor key is on disk before the CA is asked to certify it, so that neither a lost reply
nor a crash makes a second one. What has come is kept before it is used. Enrollment happens only without a usable
certificate: there is none, it has expired, it is revoked, or the CA takes it no more. A certificate that is revoked is
presented to nobody; one that is not valid yet (a clock is off) stays, and is complained of.
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
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import DeniedError, InbornError, RequestError, UnauthenticatedError, moment
from inborn_member.authority_client import AuthorityClient
from inborn_member.bootstrap import find_api_address
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.request_numbers import RequestNumbers
from inborn_member.way_in import NoEvidence, WayIn

__all__ = ["Clock", "OwnIdentity", "utc_now"]

_EVIDENCE_POLL = dt.timedelta(seconds=2)
"""How often it is looked whether somebody has brought new evidence where it is needed."""

_LONGEST_SLEEP = dt.timedelta(seconds=30)
"""The clock is looked at this often: it may have been set."""

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


class OwnIdentity:
    """Belongs to one event loop. `run` keeps the identity good; `client` waits until the CA can be asked.

    `kind` is what the log calls the member; `ca` the bootstrap port where a CA that has moved is asked for (none: it is
    not looked for); `longest_life` is how much of a certificate's life counts at most when it is decided when to renew.
    """

    def __init__(
        self,
        kind: str,
        trust_domain: TrustDomain,
        store: IdentityStore,
        way_in: WayIn,
        *,
        revocations: RevocationSet,
        record: IdentityRecord | None,
        ca: str = "",
        longest_life: dt.timedelta | None = None,
        source: StaticSource | None = None,
        clock: Clock = utc_now,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.trust_domain = trust_domain
        self.record: IdentityRecord | None = None
        self.source = source or StaticSource(Snapshot(trust_domain=trust_domain, svids=(), bundles={}))
        self.on_standing: Callable[[], None] = lambda: None
        """Called when our certificate is revoked, and when there is a new one."""
        self.on_renewal: Callable[[str], None] = lambda result: None
        """Called after each attempt to renew, with `ok` or the error's kind."""
        self._kind = kind
        self._log = get_logger(f"{kind}.identity")
        self._store = store
        self._way_in = way_in
        self._revocations = revocations
        self._ca = ca
        self._longest_life = longest_life
        self._now = clock
        self._spread = spread
        self._bundle: X509Bundle | None = None
        self._log_id = b""
        self._schedule: Schedule | None = None
        self._wake = asyncio.Event()
        self._changing = asyncio.Lock()  # what is held and what is kept change together
        self._is_refused = False
        self._client: AuthorityClient | None = None
        self._closing: asyncio.Task[None] | None = None
        self._has_client = asyncio.Event()
        if record is None:
            self._publish()
        else:
            self._bundle = record.bundle
            self._adopt(record)

    @property
    def svid(self) -> X509Svid | None:
        return self.record.svid if self.record is not None else None

    @property
    def bundle(self) -> X509Bundle | None:
        """Of our own trust domain, as the feed or an enrollment brought it last."""
        return self._bundle

    @property
    def is_revoked(self) -> bool:
        """Whether our own certificate falls under a revocation that we know."""
        return self.record is not None and self._revocations.find(self.record.svid.facts) is not None

    @property
    def is_expired(self) -> bool:
        """Whether our own certificate has expired, or there is none."""
        return self.record is None or self.record.svid.facts.not_after <= self._now()

    @property
    def is_usable(self) -> bool:
        """Whether the CA can be asked with it."""
        return not self.is_expired and not self.is_revoked

    def complaints(self) -> list[str]:
        """What is wrong with the member's own certificate now, in words for an admin."""
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

    async def client(self) -> AuthorityClient:
        """The CA's client, once there is an identity to speak with."""
        while self._client is None or not self.is_usable:
            self._has_client.clear()
            await self._has_client.wait()
        return self._client

    def trust(self, bundle: X509Bundle | None, log_id: bytes) -> None:
        """The feed brought a bundle (None: the one before), revocations or another log_id: connections are judged by
        them from now on, those that are open as well."""
        if bundle is not None:
            self._bundle = bundle
        self._log_id = log_id or self._log_id
        if self._client is not None:
            self._client.log_id = self._log_id
        self._publish()
        if self.is_revoked:
            self.on_standing()
        if not self.is_usable:
            self._wake.set()

    async def keep_bundle(self) -> None:
        """Keep the bundle that `trust` brought: for whoever has no other place for it. Raises `UnavailableError`."""
        async with self._changing:
            if self.record is not None and self._bundle is not None and self.record.bundle != self._bundle:
                record = dataclasses.replace(self.record, bundle=self._bundle)
                await asyncio.to_thread(self._store.amend, record)
                self.record = record

    def refused(self, error: InbornError) -> None:
        """The CA does not take our certificate any more, or our signature. Said again, it changes nothing: how often
        the CA is asked is up to the schedule."""
        if isinstance(error, UnauthenticatedError) and not self._is_refused:
            self._is_refused = True
            self.rotate()

    async def relocate(self) -> None:
        """Nobody answers at the API port: ask at the bootstrap port where it is now. Where nobody answers there either,
        whoever called goes on trying."""
        if self.record is None or not self._ca or not self.is_usable:
            return
        try:
            address = await find_api_address(self.source, self._ca)
            async with self._changing:
                if self.record.api_address == address:
                    return
                record = dataclasses.replace(self.record, api_address=address)
                await asyncio.to_thread(self._store.amend, record)
                self._adopt(record)
        except InbornError as error:
            self._log.debug(f"{self._kind}.ca_not_found", kind=error.kind, reason=error.message)
            return
        self._log.event(f"{self._kind}.ca_moved", address=address)

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
            if not self.is_usable:
                failures = await self._try_to_enroll(failures)
                continue
            if self._is_refused:
                # A certificate that looks good and is not taken: the CA knows better. Ask to renew, then enroll.
                if self._schedule is None or self._schedule.is_due(self._now()):
                    self._is_refused = False
                    await self._renew()
                if self._is_refused:
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
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    # Renewal.

    async def _renew(self) -> bool:
        client, record, bundle = self._client, self.record, self._bundle
        if client is None or record is None or bundle is None:
            return False
        try:
            successor = await asyncio.to_thread(self._store.successor, record.svid)
            renewed = IdentityRecord.of(await client.renew(successor, bundle))
            async with self._changing:
                # The feed may have brought another bundle meanwhile: what is held now counts.
                renewed = dataclasses.replace(renewed, bundle=self._bundle or bundle, evidence=record.evidence)
                await self._take(renewed, "renewed")
        except InbornError as error:
            self.on_renewal(error.kind)
            self._log.warning(f"{self._kind}.renewal_failed", kind=error.kind, reason=error.message, hint=error.hint)
            self._is_refused = isinstance(error, UnauthenticatedError)  # and nobody is woken: that was the attempt
            if self._schedule is not None:
                self._schedule.failed(self._now(), spread=self._spread())
            return False
        self.on_renewal("ok")
        return True

    # Enrollment.

    async def enroll(self) -> None:
        """One attempt to get in. Raises what `WayIn.enroll` raises, and `UnavailableError` where what came of it cannot
        be kept."""
        former = self.svid.spiffe_id if self.svid is not None else None
        enrolled = await self._way_in.enroll(self._store, former)
        async with self._changing:
            self._bundle = enrolled.bundle  # the evidence vouches for it: it is newer than what is known
            await self._take(IdentityRecord.of(enrolled), "enrolled")
        self._way_in.used(enrolled.evidence)

    async def _try_to_enroll(self, failures: int) -> int:
        """One attempt; returns how many have failed in a row. Raises where it is the first and there is no hope."""
        try:
            await self.enroll()
        except NoEvidence as error:
            if failures % 15 == 0:  # once in half a minute
                self._log.warning(f"{self._kind}.needs_evidence", reason=error.message, hint=error.hint)
            await self._sleep(_EVIDENCE_POLL)
            return failures + 1
        except (RequestError, DeniedError) as error:
            self._log.warning(
                f"{self._kind}.enrollment_refused", kind=error.kind, reason=error.message, hint=error.hint
            )
            if self.record is None:
                raise
            pause = retry_delay(failures + 1, remaining=dt.timedelta(0), spread=self._spread())
            await self._sleep(max(_EVIDENCE_POLL, pause))
            return failures + 1
        except InbornError as error:
            self._log.warning(f"{self._kind}.enrollment_failed", kind=error.kind, reason=error.message)
            await self._sleep(retry_delay(failures + 1, remaining=dt.timedelta(0), spread=self._spread()))
            return failures + 1
        return 0

    async def _take(self, record: IdentityRecord, event: str) -> None:
        """Keep it, then use it."""
        await asyncio.to_thread(self._store.save, record)
        self._is_refused = False
        self._log_id = record.log_id
        self._adopt(record)
        facts = record.svid.facts
        self._log.event(
            f"{self._kind}.{event}",
            spiffe_id=facts.spiffe_id,
            serial=facts.serial.hex(),
            not_after=facts.not_after.isoformat(),
        )

    def _adopt(self, record: IdentityRecord) -> None:
        """Present this certificate from now on, and count requests by its key's numbers."""
        now = self._now()
        former, self.record = self.record, record
        if former is None or former.svid is not record.svid:
            self._schedule = self._plan(record.svid, now)
        self._log_id = self._log_id or record.log_id
        self._publish()
        reserved = self._store.reserved_number(record.svid, now)
        numbers = RequestNumbers(reserved, lambda number: self._store.reserve_numbers(record.svid, number))
        if self._client is None or self._client.address != record.api_address:
            left, self._client = (
                self._client,
                AuthorityClient(self.source, record.api_address, log_id=self._log_id, numbers=numbers),
            )
            if left is not None:
                self._closing = asyncio.get_running_loop().create_task(left.close())
        elif former is None or former.svid.private_key is not record.svid.private_key:
            self._client.log_id = self._log_id
            self._client.use_numbers(numbers)
        if self.is_usable:
            self._has_client.set()
            self.on_standing()

    def _plan(self, svid: X509Svid, now: dt.datetime) -> Schedule:
        """When to renew. If the clock was set back since the certificate was issued, now counts as that moment."""
        facts = svid.facts
        issued_at = svid.issued_at or facts.not_before
        life = facts.not_after - issued_at
        if self._longest_life is not None:
            life = min(life, self._longest_life)
        begin = min(issued_at, now)
        return Schedule(begin, facts.not_after, renewal_time(begin, begin + life, spread=self._spread()))

    def _publish(self) -> None:
        """What is the same stays the same object, so that channels stay; but subscribers look at open connections."""
        before, record = self.source.snapshot(), self.record
        reason = f"the {self._kind} is not enrolled" if record is None else ""
        svids: tuple[X509Svid, ...] = () if record is None else (record.svid,)
        revocation = self._revocations.find(record.svid.facts) if record is not None else None
        if revocation is not None:
            svids = ()
            reason = f"own certificate is revoked by {revocation.target} (revocation {revocation.seq})"
        bundles = {self.trust_domain: self._bundle} if self._bundle is not None else {}
        self.source.replace(
            dataclasses.replace(
                before,
                trust_domain=self.trust_domain,
                svids=before.svids if before.svids == svids else svids,
                bundles=before.bundles if dict(before.bundles) == bundles else bundles,
                revocations=self._revocations,
                reason=reason,
            )
        )

    async def _sleep(self, pause: dt.timedelta) -> None:
        try:
            async with asyncio.timeout(max(0.0, pause.total_seconds())):
                await self._wake.wait()
        except TimeoutError:
            pass
