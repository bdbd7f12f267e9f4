"""Certificate revocation lists (RFC 5280 5): exports for software that is not ours, made anew from the store each time.

OpenSSL chooses among several lists by thisUpdate, with a resolution of a second, and silently ignores a newer list
with the same one; so thisUpdate must rise by whole seconds. A list whose thisUpdate lies ahead, or whose nextUpdate
has passed, makes nginx, PostgreSQL, HAProxy and Envoy refuse everybody.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn.errors import InternalError

__all__ = ["REASONS", "build_crl", "next_this_update"]

REASONS: dict[int, x509.ReasonFlags] = {
    1: x509.ReasonFlags.key_compromise,
    2: x509.ReasonFlags.ca_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    9: x509.ReasonFlags.privilege_withdrawn,
    10: x509.ReasonFlags.aa_compromise,
}
"""Reason codes that may stand in a list (RFC 5280 5.3.1). 0, unspecified, is left out there; 6 and 8 belong to
suspensions, which do not exist here: a revocation is for ever."""

_SECOND = dt.timedelta(seconds=1)


def next_this_update(previous: dt.datetime | None, now: dt.datetime, backdate: dt.timedelta) -> dt.datetime | None:
    """The thisUpdate of the next list: a whole second, after `previous`, as old as `backdate` allows, never ahead.

    None: no time is possible yet, which happens after a burst of as many lists as `backdate` has seconds, and when
    the clock was set back.
    """
    at = (now - backdate).replace(microsecond=0)
    if previous is not None:
        at = max(at, previous.replace(microsecond=0) + _SECOND)
    return at if at <= now else None


def build_crl(
    *,
    issuer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    number: int,
    this_update: dt.datetime,
    next_update: dt.datetime,
    revoked: Iterable[tuple[bytes, dt.datetime, int]],
) -> bytes:
    """Make and sign the list of `revoked` (serial, time, reason) in DER; parse and check it before it is returned.

    Time is linear in the number of entries. A serial that comes twice counts once, as it came first; fractions of
    seconds are cut off. Not checked: that the serials are this issuer's. Raises `InternalError`.
    """
    this_update, next_update = this_update.replace(microsecond=0), next_update.replace(microsecond=0)
    if number < 1 or number.bit_length() > 159:
        raise InternalError(f"number of a CRL is not of 1 to 20 octets: {number}")  # RFC 5280 5.2.3
    entries: dict[int, x509.RevokedCertificate] = {}
    for serial, at, reason in revoked:
        value = int.from_bytes(serial, "big")
        if value not in entries:
            entries[value] = _entry(value, at, reason)
    subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    # The builder's add_ methods copy the whole list for each entry, the constructor takes it as it is. It takes naive
    # times, as the add_ methods make them.
    try:
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer.subject,
            last_update=_naive(this_update),
            next_update=_naive(next_update),
            extensions=[
                x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(number)),
                x509.Extension(x509.AuthorityKeyIdentifier.oid, False, authority_key),
            ],
            revoked_certificates=[entries[value] for value in sorted(entries)],
        )
        der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    except (ValueError, TypeError) as e:
        raise InternalError(f"CRL {number} cannot be built: {e}") from e
    _check(der, issuer, number, this_update, next_update, len(entries))
    return der


def _entry(serial: int, at: dt.datetime, reason: int) -> x509.RevokedCertificate:
    if serial <= 0:
        raise InternalError("serial in a CRL is not positive")
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at.replace(microsecond=0))
    if reason:
        flag = REASONS.get(reason)
        if flag is None:
            raise InternalError(f"reason {reason} cannot stand in a CRL (RFC 5280 5.3.1)")
        builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()


def _check(
    der: bytes, issuer: x509.Certificate, number: int, this_update: dt.datetime, next_update: dt.datetime, count: int
) -> None:
    crl = x509.load_der_x509_crl(der)
    public_key = issuer.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise InternalError("issuer of a CRL has a key that is not offered")
    try:
        public_key.verify(crl.signature, crl.tbs_certlist_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as e:
        raise InternalError(f"CRL {number} was not signed by its issuer's key") from e
    is_right = (
        crl.issuer == issuer.subject
        and crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        and crl.last_update_utc == this_update
        and crl.next_update_utc == next_update
        and len(crl) == count
    )
    if not is_right:
        raise InternalError(f"CRL {number} does not say what it should")
    if this_update >= next_update:
        raise InternalError(f"CRL {number} ends before it begins")


def _naive(time: dt.datetime) -> dt.datetime:
    if time.tzinfo is None:
        raise InternalError(f"time of a CRL has no time zone: {time}")
    return time.astimezone(dt.UTC).replace(tzinfo=None)
