"""The front's own certificate: key in memory, certified by the signer, renewed at half of its life.

A session of TLS that is resumed brings the certificate of the first handshake along (`grpc_adapter.credentials`), and
`front.caller` looks at its chain, its end and the revocations at each call: a ticket opens nothing that the certificate
does not.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.grpc_adapter.credentials import following_credentials
from inborn._internal.host.log import get_logger
from inborn._internal.spiffe.rotation import Schedule
from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.verification.verify import verify_chain
from inborn.errors import InbornError, InternalError
from inborn_ca.front.known_domain import KnownDomain
from inborn_ca.link.link import Link
from inborn_proto import signer_pb2

__all__ = ["FrontIdentity"]

log = get_logger("ca.identity")

_LONGEST_SLEEP = 5.0  # seconds: a clock that was set, or a machine that was asleep, is noticed within this time


class FrontIdentity:
    """`obtain` once, then `keep_fresh` for ever; `credentials` follow by themselves."""

    def __init__(self, link: Link, domain: KnownDomain, clock: Callable[[], dt.datetime]) -> None:
        self._link = link
        self._domain = domain
        self._clock = clock
        self._svid: X509Svid | None = None
        self._schedule: Schedule | None = None
        self._wakeup = asyncio.Event()

    @property
    def svid(self) -> X509Svid:
        """Raises `InternalError` before `obtain`."""
        if self._svid is None:
            raise InternalError("front has no certificate yet")
        return self._svid

    async def obtain(self) -> None:
        """Make a key, have it certified, and verify the outcome against our own bundle before it is used."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        response = await self._link.call(
            "/inborn.signer.v1.Signing/CertifyFront",
            signer_pb2.CertifyFrontRequest(csr=csr.public_bytes(serialization.Encoding.DER)),
            signer_pb2.CertifyFrontResponse,
        )
        now = self._clock()
        pkcs8 = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        svid = X509Svid.parse(b"".join(response.chain), pkcs8, issued_at=now)
        facts = verify_chain(
            svid.chain,
            bundles={self._domain.trust_domain: self._domain.bundle},
            revocations=self._domain.revocations,
            authorize=_is_ca,
            now=now,
        )
        self._svid = svid
        self._schedule = Schedule.after_issue(now, facts.not_after, spread=random.random())
        log.event("front.certified", spiffe_id=facts.spiffe_id, not_after=facts.not_after)

    async def keep_fresh(self) -> None:
        """Renew for ever. After a failure it is tried again, faster as the end comes near."""
        while True:
            schedule = self._schedule
            if schedule is None:
                raise InternalError("front has no certificate yet")
            wait = (schedule.next_attempt - self._clock()).total_seconds()
            if wait > 0:
                try:
                    async with asyncio.timeout(min(wait, _LONGEST_SLEEP)):
                        await self._wakeup.wait()
                except TimeoutError:
                    pass
                self._wakeup.clear()
                continue
            try:
                await self.obtain()
            except InbornError as e:
                log.warning("front.not_renewed", error=e.message)
                schedule.failed(self._clock(), spread=random.random())

    def renew(self) -> None:
        """The signer wants us to have another certificate now."""
        if self._schedule is not None:
            self._schedule.hurry(self._clock())
            self._wakeup.set()

    def reconsider(self) -> None:
        """The domain has changed: renew at once if our certificate or its authority is dead now."""
        if self._svid is None or self._schedule is None:
            return
        dead = self._domain.dead_authorities
        issuers = {c.public_bytes(serialization.Encoding.DER) for c in self._svid.chain[1:]}
        if dead & issuers or self._domain.revocations.find(self._svid.facts) is not None:
            self.renew()

    def credentials(self, *, is_mutual: bool) -> grpc.ServerCredentials:
        """Server credentials that follow certificate and bundle at each handshake. For one port only."""
        return following_credentials(
            lambda: (self.svid, (self._domain.bundle,) if is_mutual else ()), is_mutual=is_mutual
        )


def _is_ca(spiffe_id: SpiffeId) -> bool:
    return spiffe_id.path.startswith("/inborn/ca/")
