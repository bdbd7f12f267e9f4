"""Roots and issuing authorities: how their certificates are made, and when which step of their lives is due.

`plan` is a table of rules over the records; it does nothing itself. Whoever carries out a step writes the new records
in one transaction, so that a crash between two steps leaves a state from which `plan` goes on.

    (none) --PREPARE--> prepared --ACTIVATE--> active --RETIRE--> retired --REMOVE--> (none)
                            `---------- RENEW_CRL, while its certificate lives ----------'
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn.errors import InternalError, moment
from inborn_ca.certificates.lint import lint_authority
from inborn_ca.certificates.profile import AUTHORITY_KEY_USAGE, Lifetimes
from inborn_ca.model.records import AuthorityRecord

__all__ = [
    "Step",
    "StepKind",
    "activate_at",
    "key_id",
    "make_issuing",
    "make_root",
    "plan",
    "prepare_at",
]

AUTHORITY_BACKDATE = dt.timedelta(minutes=5)
"""An authority begins this long before it is made: what it signs is backdated, and never begins before its signer."""


REMOVED_AFTER = dt.timedelta(days=1)
"""An expired authority is kept this long: for clocks that are wrong, and as long as the revocations that name it."""

_NEVER = dt.datetime.max.replace(tzinfo=dt.UTC)


class StepKind(StrEnum):
    PREPARE = "prepare"
    RENEW_CRL = "renew-crl"
    ACTIVATE = "activate"
    RETIRE = "retire"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is due. `key_id` is empty for PREPARE: the authority does not exist yet."""

    kind: StepKind
    key_id: bytes = b""


def key_id(of: x509.Certificate | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    """The subject key identifier, 20 bytes: the certificate's own extension, or what it would be for a key."""
    if isinstance(of, x509.Certificate):
        return of.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return x509.SubjectKeyIdentifier.from_public_key(of).digest


def make_root(
    *, trust_domain: TrustDomain, key: ec.EllipticCurvePrivateKey, now: dt.datetime, life: dt.timedelta
) -> x509.Certificate:
    """Make a self-signed root. Raises `LintError` if it is not of the profile, which is a bug of ours."""
    name = _name("root", key)
    root = _builder(name, name, key, key, trust_domain, now, now + life, path_length=None).sign(key, hashes.SHA256())
    lint_authority(root, trust_domain=trust_domain)
    root.verify_directly_issued_by(root)
    return root


def make_issuing(
    *,
    trust_domain: TrustDomain,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    life: dt.timedelta,
) -> x509.Certificate:
    """Make an issuing authority under `root`, never past its end. Raises `LintError`, `InternalError`.

    Not checked: whether the root may still be used.
    """
    end = min(now + life, root.not_valid_after_utc)
    if end <= now:
        raise InternalError(f"root expired at {moment(root.not_valid_after_utc)}")
    builder = _builder(
        _name("issuing", key), root.subject, key, root_key, trust_domain,
        max(now, root.not_valid_before_utc + AUTHORITY_BACKDATE), end, path_length=0,
    )  # fmt: skip
    certificate = builder.sign(root_key, hashes.SHA256())
    lint_authority(certificate, trust_domain=trust_domain, issuer=root)
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, TypeError, ValueError) as e:
        raise InternalError("issuing authority was not signed by the root's key") from e
    return certificate


def _name(role: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Unique for each key: Java cannot tell two authorities of one name apart. The trust domain is in the SAN."""
    text = f"Inborn {role} {key_id(key.public_key()).hex()}"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    trust_domain: TrustDomain,
    now: dt.datetime,
    end: dt.datetime,
    *,
    path_length: int | None,
) -> x509.CertificateBuilder:
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() | 1 << 158)
        .not_valid_before((now - AUTHORITY_BACKDATE).replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(AUTHORITY_KEY_USAGE, critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(trust_domain.id))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )


def plan(
    authorities: Sequence[AuthorityRecord],
    *,
    ca_id: str,
    now: dt.datetime,
    lifetimes: Lifetimes,
    longest_svid: dt.timedelta | None = None,
) -> list[Step]:
    """What is due now for this CA, in the order in which it must be done. Empty: nothing.

    Issuing authorities of other CAs are theirs: none of them is a reason to do or to leave anything here. Roots are
    everybody's.

    The next authority is prepared at half of the active one's life and activated at five sixths, or as soon as the
    active one could cut the longest SVID short (`longest_svid`, or what `lifetimes` say). With no active one, a
    prepared one is activated at once. A prepared authority must have a CRL that has reached the agents before it is
    activated: the CRL's step comes first here; whether the agents have it is for the caller to look at. A CRL of a
    root is made again at a third of its life, of an issuing authority at half, in whatever state, until the
    certificate has expired. A day after that the authority is removed.

    The root is not replaced here; an issuing authority that ends with it has no successor. Not checked: that the keys
    are there.
    """
    longest = longest_svid or lifetimes.longest_svid
    authorities = _of(ca_id, authorities)
    crls = _crls(authorities, now, lifetimes)
    steps = [Step(kind=StepKind.RENEW_CRL, key_id=record.key_id) for record, due in crls if due <= now]
    current, others = _current(authorities)
    successor = _successor(authorities, current, now)
    if successor is None and _next_prepared_at(authorities, current, now, longest) <= now:
        steps.append(Step(kind=StepKind.PREPARE))
    if successor is not None and (current is None or activate_at(current, longest) <= now):
        steps.append(Step(kind=StepKind.ACTIVATE, key_id=successor.key_id))
        if current is not None:
            steps.append(Step(kind=StepKind.RETIRE, key_id=current.key_id))
    steps += [Step(kind=StepKind.RETIRE, key_id=record.key_id) for record in others]
    removals = _removals(authorities)
    return steps + [Step(kind=StepKind.REMOVE, key_id=r.key_id) for r, due in removals if due <= now]


def _of(ca_id: str, authorities: Sequence[AuthorityRecord]) -> list[AuthorityRecord]:
    """The roots, and the issuing authorities of one CA."""
    return [record for record in authorities if record.ca_id == ca_id or record.state is AuthorityState.ROOT]


def _removals(authorities: Sequence[AuthorityRecord]) -> list[tuple[AuthorityRecord, dt.datetime]]:
    """Issuing authorities that no longer sign, and when nobody looks at them any more."""
    return [
        (record, record.certificate.not_valid_after_utc + REMOVED_AFTER)
        for record in authorities
        if record.state not in (AuthorityState.ROOT, AuthorityState.ACTIVE)
    ]


def _crls(
    authorities: Sequence[AuthorityRecord], now: dt.datetime, lifetimes: Lifetimes
) -> list[tuple[AuthorityRecord, dt.datetime]]:
    """Each authority whose certificate lives, and when its CRL must be made again."""
    due = []
    for record in authorities:
        if record.certificate.not_valid_after_utc <= now:
            continue
        if not record.crl or record.crl_this_update is None or record.crl_next_update is None:
            due.append((record, record.created_at))
            continue
        if record.state is AuthorityState.ROOT:
            longest, share = lifetimes.crl_root, 3
        else:
            longest, share = lifetimes.crl_issuing, 2
        # Counted from the end: its beginning is backdated, by more than the whole life where that is seconds.
        life = min(longest, record.crl_next_update - record.crl_this_update)
        due.append((record, record.crl_next_update - life * (share - 1) / share))
    return due


def _current(authorities: Sequence[AuthorityRecord]) -> tuple[AuthorityRecord | None, list[AuthorityRecord]]:
    """The one that signs, and others that say they are active: a crash or a restore may leave some."""
    active = sorted(
        (record for record in authorities if record.state is AuthorityState.ACTIVE),
        key=lambda record: record.activated_at or record.created_at,
    )
    return (active[-1], active[:-1]) if active else (None, [])


def _successor(
    authorities: Sequence[AuthorityRecord], current: AuthorityRecord | None, now: dt.datetime
) -> AuthorityRecord | None:
    """The prepared authority that comes next: the oldest that lives and outlives the current one."""
    end = now if current is None else max(now, current.certificate.not_valid_after_utc)
    prepared = [
        record
        for record in authorities
        if record.state is AuthorityState.PREPARED and record.certificate.not_valid_after_utc > end
    ]
    return min(prepared, key=lambda record: record.created_at, default=None)


def _next_prepared_at(
    authorities: Sequence[AuthorityRecord],
    current: AuthorityRecord | None,
    now: dt.datetime,
    longest_svid: dt.timedelta,
) -> dt.datetime:
    """When the one after the current one must be there; never, if the root ends no later than the current one."""
    roots = [record.certificate.not_valid_after_utc for record in authorities if record.state is AuthorityState.ROOT]
    if roots and max(roots) <= (now if current is None else max(now, current.certificate.not_valid_after_utc)):
        return _NEVER
    return now if current is None else prepare_at(current, longest_svid)


def prepare_at(record: AuthorityRecord, longest_svid: dt.timedelta) -> dt.datetime:
    """When the successor of an active authority is prepared: half of its life.

    A life is counted from when it was made, and not from the backdated start.
    """
    return min(record.created_at + _life(record) / 2, activate_at(record, longest_svid))


def activate_at(record: AuthorityRecord, longest_svid: dt.timedelta) -> dt.datetime:
    """When the successor of an active authority is activated: five sixths of its life, and before it cuts any short."""
    return min(record.created_at + _life(record) * 5 / 6, record.certificate.not_valid_after_utc - longest_svid)


def _life(record: AuthorityRecord) -> dt.timedelta:
    return record.certificate.not_valid_after_utc - record.created_at
