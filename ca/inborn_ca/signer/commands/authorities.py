"""The CA's own authorities: made at the first start, prepared, activated and retired in time, their CRLs kept current.

Everything that has been decided stands in the database before it is said, so that a crash at any point loses nothing:
an authority's key is on disk before its row, and its row is committed before anybody hears of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace

from cryptography import x509

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.x509_svid import serial_octets
from inborn.errors import InternalError, moment
from inborn_ca.authorities.authority_life import Step, StepKind, make_issuing, make_root, plan
from inborn_ca.authorities.crl import build_crl, next_this_update
from inborn_ca.model.records import AuthorityRecord
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.authority_order import revoke_authority_row
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction

__all__ = ["Authorities", "RevokedEntry"]

MAX_CRL_SIZE = 5 * 1024 * 1024  # bytes, 140,000 entries: those of three authorities fit into a message of the feed

PATIENCE = dt.timedelta(seconds=30)  # what an agent that is there takes at most to apply a message of the feed

RevokedEntry = tuple[bytes, dt.datetime, int]
"""Serial, when, RFC 5280 reason."""


class Authorities:
    """Commands that keep roots and issuing authorities as they should be."""

    def __init__(self, state: SignerState) -> None:
        self._state = state
        self._prepared_at_revision: dict[bytes, int] = {}
        self._activation_due_since: dict[bytes, dt.datetime] = {}

    # -- the first start ---------------------------------------------------------------------------------------------

    def create(self) -> Callable[[Transaction, Changes], Finish]:
        """The command of the very first start: root, issuing authority and their CRLs. Nothing to do afterwards."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            if not any(a.state is AuthorityState.ROOT for a in tx.authorities.all()):
                now = self._state.clock()
                root_id, root_key = self._state.keys.create()
                root = make_root(
                    trust_domain=self._state.trust_domain, key=root_key, now=now, life=self._state.lifetimes.root
                )
                record = AuthorityRecord(key_id=root_id, state=AuthorityState.ROOT, certificate=root, created_at=now)
                tx.authorities.add(self._with_crl(record, (), now) or record)
                changes.roots = True
                tx.audit.add(audit.row(now, "signer", "authority.root", root_id.hex()))
            return lambda: None

        return command

    def replace_issuing(self, *, activate: bool) -> Callable[[Transaction, Changes], Finish]:
        """Make a new issuing authority; with `activate` it signs at once (the first start, a restored database)."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            record = self._make_issuing(now)
            if activate:
                self._retire_active(tx, now)
                record = replace(record, state=AuthorityState.ACTIVE, activated_at=now)
            tx.authorities.add(record)
            changes.authorities = True
            self._prepared_at_revision[record.key_id] = self._state.domain_revision + 1
            action = "authority.activate" if activate else "authority.prepare"
            tx.audit.add(audit.row(now, "signer", action, record.key_id.hex()))
            return lambda: None

        return command

    # -- in time -----------------------------------------------------------------------------------------------------

    def due(self, *, heard_by_all: Callable[[int], bool]) -> list[Callable[[Transaction, Changes], Finish]]:
        """The commands that are due now, apart from CRLs.

        `heard_by_all(revision)` says whether every connected agent has applied that revision of the domain feed: an
        authority is activated when they have its CRL, or when they have had `PATIENCE` to fetch it.
        """
        commands: list[Callable[[Transaction, Changes], Finish]] = []
        steps = self._plan()
        for step in steps:
            if step.kind is StepKind.PREPARE:
                commands.append(self.replace_issuing(activate=not self._has_active()))
            elif step.kind is StepKind.ACTIVATE and self._may_activate(step.key_id, heard_by_all):
                commands.append(self.activate(step.key_id))
            elif step.kind is StepKind.REMOVE:
                commands.append(self._remove(step.key_id))
        return commands

    def _may_activate(self, key_id: bytes, heard_by_all: Callable[[int], bool]) -> bool:
        if not self._has_active() or heard_by_all(self._prepared_at_revision.get(key_id, 0)):
            return True
        now = self._state.clock()
        return now >= self._activation_due_since.setdefault(key_id, now) + PATIENCE

    def _has_active(self) -> bool:
        """Whether one signs. One that has expired, while the machine was off, signs nothing any more."""
        now = self._state.clock()
        return any(
            a.state is AuthorityState.ACTIVE and a.certificate.not_valid_after_utc > now
            for a in self._state.own_authorities
        )

    def _plan(self) -> list[Step]:
        lifetimes = self._state.lifetimes
        return plan(
            self._state.authorities,
            ca_id=self._state.ca_id,
            now=self._state.clock(),
            lifetimes=lifetimes,
            longest_svid=lifetimes.longest_svid,
        )

    def successor(self) -> AuthorityRecord | None:
        """The oldest prepared authority that is alive."""
        now = self._state.clock()
        prepared = [
            a
            for a in self._state.own_authorities
            if a.state is AuthorityState.PREPARED and a.certificate.not_valid_after_utc > now
        ]
        return min(prepared, key=lambda a: a.created_at, default=None)

    def activate(self, key_id: bytes) -> Callable[[Transaction, Changes], Finish]:
        """This authority signs from now on, and the one that did is retired."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            self._retire_active(tx, now)
            prepared = next(a for a in tx.authorities.all() if a.key_id == key_id)
            tx.authorities.update(replace(prepared, state=AuthorityState.ACTIVE, activated_at=now))
            changes.authorities = True
            tx.audit.add(audit.row(now, "signer", "authority.activate", key_id.hex()))
            return lambda: None

        return command

    def set_state(self, key_id: bytes, state: AuthorityState) -> Callable[[Transaction, Changes], Finish]:
        """An authority that signs no more is tainted: whoever has a certificate of it renews that at once."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            authority = next(a for a in tx.authorities.all() if a.key_id == key_id)
            tx.authorities.update(replace(authority, state=state))
            changes.authorities = True
            tx.audit.add(audit.row(self._state.clock(), "signer", f"authority.{state}", key_id.hex()))
            return lambda: None

        return command

    def _remove(self, key_id: bytes) -> Callable[[Transaction, Changes], Finish]:
        """An authority whose life is over leaves, and its key is destroyed."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            tx.authorities.remove(key_id)
            changes.authorities = True
            tx.audit.add(audit.row(self._state.clock(), "signer", "authority.remove", key_id.hex()))
            return lambda: self._state.keys.delete(key_id)

        return command

    def _retire_active(self, tx: Transaction, now: dt.datetime) -> None:
        for authority in tx.authorities.all():
            if authority.state is AuthorityState.ACTIVE and authority.ca_id == self._state.ca_id:
                tx.authorities.update(replace(authority, state=AuthorityState.RETIRED))
                tx.audit.add(audit.row(now, "signer", "authority.retire", authority.key_id.hex()))

    def _make_issuing(self, now: dt.datetime) -> AuthorityRecord:
        root = self._root()
        key_id, key = self._state.keys.create()
        certificate = make_issuing(
            trust_domain=self._state.trust_domain,
            root=root.certificate,
            root_key=self._state.signing_key(root.key_id),
            key=key,
            now=now,
            life=self._state.lifetimes.issuing,
        )
        record = AuthorityRecord(
            key_id=key_id,
            state=AuthorityState.PREPARED,
            certificate=certificate,
            created_at=now,
            ca_id=self._state.ca_id,
        )
        with_crl = self._with_crl(record, (), now)
        if with_crl is None:
            raise InternalError("a new authority's first CRL could not be made")
        return with_crl

    def _root(self) -> AuthorityRecord:
        roots = self._state.roots
        if not roots:
            raise InternalError("there is no root authority")
        return roots[-1]

    # -- CRLs --------------------------------------------------------------------------------------------------------

    def renew_crls(
        self, key_ids: Sequence[bytes], revoked: Callable[[bytes], Sequence[RevokedEntry]]
    ) -> Callable[[Transaction, Changes], Finish]:
        """Make the CRLs of these authorities anew; `revoked(key_id)` gives an authority's dead certificates.

        Finishes with the list of those for which it is too early (a CRL a second): try again in a second.
        """

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            early: list[bytes] = []
            for authority in tx.authorities.all():
                if authority.key_id not in key_ids:
                    continue
                renewed = self._with_crl(authority, self._dead_of(tx, authority, revoked), now)
                if renewed is None:
                    early.append(authority.key_id)
                elif len(renewed.crl) > MAX_CRL_SIZE:
                    self._raise_too_large(tx, authority, len(renewed.crl), now)
                else:
                    tx.authorities.update(renewed)
                    changes.authorities = True
            return lambda: early

        return command

    def _raise_too_large(self, tx: Transaction, authority: AuthorityRecord, octets: int, now: dt.datetime) -> None:
        until = moment(authority.crl_next_update) if authority.crl_next_update is not None else "never"
        tx.audit.raise_alarm(
            kind="crl.too_large",
            subject=f"authority:{authority.key_id.hex()}",
            message=f"CRL would have {octets} bytes, at most {MAX_CRL_SIZE} fit into the feed: the last one is kept, "
            f"which ends at {until}; peers that use the library know every revocation, peers that read CRLs do not: "
            f"revoke the issuing authority: inborn revoke --authority {authority.key_id.hex()}",
            at=now,
        )

    def renew_root_crl(self, tx: Transaction, changes: Changes, *, also: tuple[x509.Certificate, int]) -> bool:
        """List one issuing certificate more, with a reason, in its root's CRL. False: too early, nothing is changed."""
        now = self._state.clock()
        certificate, reason = also
        added = (serial_octets(certificate.serial_number), now, reason)
        root = next(a for a in tx.authorities.all() if a.certificate.subject == certificate.issuer)
        renewed = self._with_crl(root, [*self._revoked_issuing(tx, root), added], now)
        if renewed is None:
            return False
        tx.authorities.update(renewed)
        changes.authorities = True
        return True

    def _dead_of(
        self, tx: Transaction, authority: AuthorityRecord, revoked: Callable[[bytes], Sequence[RevokedEntry]]
    ) -> Sequence[RevokedEntry]:
        if authority.state is AuthorityState.ROOT:
            return self._revoked_issuing(tx, authority)
        return revoked(authority.key_id)

    def _revoked_issuing(self, tx: Transaction, root: AuthorityRecord) -> list[RevokedEntry]:
        """The issuing certificates of a root that are revoked; when and why is in the revocation."""
        entries: list[RevokedEntry] = []
        for record in tx.authorities.all():
            if record.state is AuthorityState.REVOKED and record.certificate.issuer == root.certificate.subject:
                revocation = revoke_authority_row(self._state, record.key_id)
                at, reason = (revocation.revoked_at, revocation.reason) if revocation is not None else (None, 0)
                entries.append((serial_octets(record.certificate.serial_number), at or record.created_at, reason))
        return entries

    def crls_due(self) -> list[bytes]:
        """Authorities whose CRL is missing or due to be made again."""
        mine = [*self._state.roots, *self._state.own_authorities]
        missing = [a.key_id for a in mine if a.crl_this_update is None]
        return missing + [s.key_id for s in self._plan() if s.kind is StepKind.RENEW_CRL and s.key_id not in missing]

    def _with_crl(
        self, authority: AuthorityRecord, revoked: Sequence[RevokedEntry], now: dt.datetime
    ) -> AuthorityRecord | None:
        lifetimes = self._state.lifetimes
        this_update = next_this_update(authority.crl_this_update, now, lifetimes.crl_backdate)
        if this_update is None:
            return None
        life = lifetimes.crl_root if authority.state is AuthorityState.ROOT else lifetimes.crl_issuing
        crl = build_crl(
            issuer=authority.certificate,
            key=self._state.signing_key(authority.key_id),
            number=authority.crl_number + 1,
            this_update=this_update,
            next_update=now + life,
            revoked=revoked,
        )
        return replace(
            authority,
            crl=crl,
            crl_number=authority.crl_number + 1,
            crl_this_update=this_update,
            crl_next_update=now + life,
        )
