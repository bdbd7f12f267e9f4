"""The signer's state: what the store holds, mirrored in memory, and the way to a certificate.

`SignerState` is the only place that turns a grant into a certificate. `certify` prepares it from the grant and the
public key alone, lints it and writes its row; what it gives back can be signed once, after the commit.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from inborn._internal.revocation.revocation_set import Revocation, RevocationSet
from inborn._internal.selectors.demand import Demand
from inborn._internal.selectors.selector import Selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn.errors import DeniedError, InternalError, PreconditionError, moment
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.certificates.issuance import IssuerKey, Prepared, issue
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.certificates.serial import SerialSource
from inborn_ca.certificates.template import Templates
from inborn_ca.model.posture_policy import PosturePolicy, demands_on
from inborn_ca.model.records import (
    AuthorityRecord,
    BlockKind,
    CertificateKind,
    Issued,
    RevocationRecord,
)
from inborn_ca.model.registration_entry import Entry
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.consequences import Consequence, OpenAlarm, StopRenewals
from inborn_ca.signer.queue import GroupHooks
from inborn_ca.signer.requesters.requester_cache import RequesterCache
from inborn_ca.store.interface import Store, Transaction

__all__ = ["Blocked", "Clock", "Pending", "SignerState", "to_revocation"]

Clock = Callable[[], dt.datetime]

_NO_START = dt.datetime.min.replace(tzinfo=dt.UTC)
MAX_DEMANDED = 10_000  # identities whose demands are remembered


class Blocked(DeniedError):
    """Issuance is stopped for this identity, key, entry or node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A certificate that is recorded and not yet signed."""

    prepared: Prepared
    issuer: AuthorityRecord
    _key: IssuerKey = field(repr=False)

    def sign(self) -> bytes:
        """Sign it, once, and return it as DER."""
        return issue(self.prepared, self._key)


class SignerState(GroupHooks):
    """State of one CA. Everything here happens on one thread."""

    def __init__(
        self,
        *,
        store: Store,
        keys: KeyStore,
        clock: Clock,
        lifetimes: Lifetimes,
        trust_domain: TrustDomain,
        ca_id: str,
        log_id: bytes,
    ) -> None:
        self.store = store
        self.keys = keys
        self.clock = clock
        self.lifetimes = lifetimes
        self.trust_domain = trust_domain
        self.ca_id = ca_id
        self.log_id = log_id
        self.started_at = clock()
        self.issued_count = 0
        self.authorities: list[AuthorityRecord] = []
        self.revocations = RevocationSet()
        self.entries: dict[str, Entry] = {}
        self.posture_policies: list[PosturePolicy] = []
        self.domain_revision = 0
        self.entry_revision = 0
        self.serials = SerialSource(0, 0)
        self.on_committed: list[Callable[[Changes], None]] = []
        self._reader = store.reader()
        self._signing_keys: dict[bytes, ec.EllipticCurvePrivateKey] = {}
        self._issuer_keys: dict[bytes, IssuerKey] = {}
        self._templates: dict[bytes, Templates] = {}
        self._issuer_ders: dict[bytes, bytes] = {}
        self.requesters = RequesterCache()
        self.reload()

    # -- state -----------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Take everything from the store again: a group was undone, or another CA has written meanwhile."""
        reader = self._reader
        self.authorities = reader.authorities.all()
        self.entries = {entry.id: entry for entry in reader.entries.all()}
        self._use_policies(reader.entries.policies())
        self.revocations = RevocationSet()
        revocations = [to_revocation(row) for row in reader.revocations.log()]
        self.revocations.apply_snapshot(self.log_id, reader.revocations.seq(), revocations)
        self.domain_revision = int(reader.meta.get("domain_revision") or 0)
        self.entry_revision = int(reader.meta.get("entry_revision") or 0)
        stored = reader.authorities.serial_states().get(self.ca_id)
        if stored is None:
            raise InternalError(f"database does not know CA {self.ca_id}")
        self.serials = SerialSource.from_state(stored)
        self.requesters.clear()

    def _use_policies(self, policies: list[PosturePolicy]) -> None:
        self.posture_policies = policies
        self._demands: dict[SpiffeId, tuple[Demand, ...]] = {}

    def demands_on(self, spiffe_id: SpiffeId) -> tuple[Demand, ...]:
        """What the posture policies demand of this identity."""
        if not self.posture_policies:
            return ()
        if spiffe_id not in self._demands:
            if len(self._demands) >= MAX_DEMANDED:
                self._demands.clear()
            self._demands[spiffe_id] = demands_on(spiffe_id, self.posture_policies)
        return self._demands[spiffe_id]

    def ca_name(self, part: str) -> SpiffeId:
        """The ID of one of the CA's own parts: `front`, `log`."""
        return self.trust_domain.id.child("inborn", "ca", self.ca_id, part)

    @property
    def roots(self) -> list[AuthorityRecord]:
        return [a for a in self.authorities if a.state is AuthorityState.ROOT]

    @property
    def active(self) -> AuthorityRecord:
        """This CA's issuing authority that signs. Raises `PreconditionError` when there is none."""
        for authority in self.authorities:
            if authority.state is AuthorityState.ACTIVE and authority.ca_id == self.ca_id:
                return authority
        raise PreconditionError("no issuing authority is active")

    @property
    def own_authorities(self) -> list[AuthorityRecord]:
        """The issuing authorities whose keys this CA has, in whatever state."""
        return [a for a in self.authorities if a.ca_id == self.ca_id and a.state is not AuthorityState.ROOT]

    @property
    def bundle(self) -> X509Bundle:
        return X509Bundle(trust_domain=self.trust_domain, roots=tuple(root.certificate for root in self.roots))

    def signing_key(self, key_id: bytes) -> ec.EllipticCurvePrivateKey:
        """An authority's private key, read from disk once.

        Raises `InternalError` when the key in that file is another one's: what it signs would be worth nothing.
        """
        if key_id not in self._signing_keys:
            key = self.keys.load(key_id)
            if x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest != key_id:
                raise InternalError(f"key file of authority {key_id.hex()} holds another key")
            self._signing_keys[key_id] = key
        return self._signing_keys[key_id]

    def _issuer_key(self, key_id: bytes) -> IssuerKey:
        key = self._issuer_keys.get(key_id)
        if key is None:
            key = self._issuer_keys[key_id] = IssuerKey(self.signing_key(key_id))
        return key

    def issuer_der(self, issuer: AuthorityRecord) -> bytes:
        """An issuing authority's certificate, encoded once: 3 us less an answer."""
        if issuer.key_id not in self._issuer_ders:
            self._issuer_ders = {issuer.key_id: certificate_der(issuer.certificate)}  # those of a retired one go
        return self._issuer_ders[issuer.key_id]

    def _templates_of(self, issuer: AuthorityRecord) -> Templates:
        if issuer.key_id not in self._templates:
            self._templates = {issuer.key_id: Templates(issuer.certificate)}  # those of a retired one go
        return self._templates[issuer.key_id]

    def facts(self, row: Issued) -> CertificateFacts:
        """A ledger row as the facts that revocations and the clock are held against.

        It has no start: the signer knows what it has issued, and a clock that was set back must not lock agents out.
        """
        return CertificateFacts(
            spiffe_id=row.spiffe_id,
            serial=row.serial,
            key_hash=row.key_hash,
            authority=row.authority,
            not_before=_NO_START,
            not_after=row.not_after,
        )

    # -- the way to a certificate ------------------------------------------------------------------------------------

    def certify(
        self,
        tx: Transaction,
        *,
        kind: CertificateKind,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        spki: bytes = b"",
        ttl: dt.timedelta,
        dns_names: tuple[str, ...] = (),
        common_name: str = "",
        entry_id: str = "",
        node: SpiffeId | None = None,
        selectors: tuple[Selector, ...] = (),
    ) -> Pending:
        """Look at the blocks, prepare and lint the certificate, and write its row.

        Raises `Blocked`; `PreconditionError` without an active authority. Not checked: that the requester may have it.
        """
        now = self.clock()
        issuer = self.active
        prepared = self._templates_of(issuer).prepare(
            spiffe_id=spiffe_id,
            dns_names=dns_names,
            common_name=common_name,
            public_key=public_key,
            spki=spki,
            serial=self.serials.next(now, os.urandom(11)),
            ttl=ttl,
            now=now,
            backdate=self.lifetimes.backdate,
        )
        self._look_at_blocks(
            tx, spiffe_id, key_hash=prepared.key_hash, entry_id=entry_id, node=node, selectors=selectors
        )
        tx.ledger.add(
            Issued(
                serial=prepared.serial,
                spiffe_id=spiffe_id,
                kind=kind,
                key_hash=prepared.key_hash,
                authority=issuer.key_id,
                issued_at=now,
                not_after=prepared.not_after,
                entry_id=entry_id,
                node=node,
                selectors=selectors,
            )
        )
        return Pending(prepared=prepared, issuer=issuer, _key=self._issuer_key(issuer.key_id))

    def _look_at_blocks(
        self,
        tx: Transaction,
        spiffe_id: SpiffeId,
        *,
        key_hash: bytes,
        entry_id: str,
        node: SpiffeId | None,
        selectors: tuple[Selector, ...],
    ) -> None:
        """For an SVID of any kind; `key_hash` is empty where it is bound to no key. Raises `Blocked`."""
        block = tx.blocks.find(
            _targets(spiffe_id, key_hash=key_hash, entry_id=entry_id, node=node, selectors=selectors)
        )
        if block is not None:
            raise Blocked(
                f"issuance for {spiffe_id} is blocked by {block.target} since {moment(block.since)}",
                hint=f"an admin lifts it with: inborn unblock {block.target}",
            )

    # -- around a group ----------------------------------------------------------------------------------------------

    def begin(self) -> object:
        return self.store.transaction()

    def applied(self, changes: Changes) -> None:
        for before, after in changes.entries:
            if after is not None:
                self.entries[after.id] = after
            elif before is not None:
                self.entries.pop(before.id, None)
        if changes.posture_policies is not None:
            self._use_policies(changes.posture_policies)
        if changes.revocations or changes.dropped:
            seq = max([self.revocations.seq, *(revocation.seq for revocation in changes.revocations)])
            self.revocations.apply_delta(self.log_id, seq, changes.revocations, changes.dropped)

    def keep(self, tx: Transaction, consequence: Consequence) -> None:
        match consequence:
            case OpenAlarm(kind=kind, subject=subject, message=message, at=at):
                tx.audit.raise_alarm(kind=kind, subject=subject, message=message, at=at)
            case StopRenewals(member=member, at=at):
                self.requesters.put_member(tx, replace(member, stopped_at=at))

    def before_commit(self, tx: Transaction, changes: Changes) -> None:
        self.requesters.flush(tx)
        tx.authorities.set_serial_state(self.ca_id, self.serials.state)
        # The revisions are the database's: another CA may have counted them up since they were read.
        if changes.touches_domain:
            self.domain_revision = int(tx.meta.get("domain_revision") or 0) + 1
            tx.meta.set("domain_revision", str(self.domain_revision))
        if changes.entries or changes.members or changes.posture_policies is not None:
            self.entry_revision = int(tx.meta.get("entry_revision") or 0) + 1
            tx.meta.set("entry_revision", str(self.entry_revision))
        if changes.authorities or changes.roots:
            self.authorities = tx.authorities.all()

    def rolled_back(self) -> None:
        self.reload()

    def committed(self, changes: Changes) -> None:
        for callback in self.on_committed:
            callback(changes)


def _targets(
    spiffe_id: SpiffeId, *, key_hash: bytes, entry_id: str, node: SpiffeId | None, selectors: tuple[Selector, ...]
) -> Iterator[tuple[BlockKind, str]]:
    """What a block could be on. Lazily: where nothing at all is blocked they are never spelled out (2 us less)."""
    if key_hash:
        yield BlockKind.KEY, key_hash.hex()
    if not spiffe_id.is_reserved:
        at = spiffe_id
        yield BlockKind.ID, str(at)
        yield BlockKind.ID_PREFIX, str(at)
        while at.path:
            at = SpiffeId(trust_domain=at.trust_domain, path=at.path.rpartition("/")[0])
            yield BlockKind.ID_PREFIX, str(at)
    if entry_id:
        yield BlockKind.ENTRY, entry_id
    if node is not None:
        yield BlockKind.NODE, str(node)
    for selector in selectors:
        yield BlockKind.SELECTOR, str(selector)


def to_revocation(row: RevocationRecord) -> Revocation:
    """A row of the revocation log as the revocation that travels."""
    return Revocation(
        seq=row.seq,
        kind=row.kind,
        value=row.value,
        cut_offs=row.cut_offs,
        reason=row.reason,
        blocks=row.blocks,
        revoked_at=row.revoked_at,
    )


def spki_of(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    """A public key as DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def certificate_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
