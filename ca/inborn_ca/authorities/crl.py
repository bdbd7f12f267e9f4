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
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.reason import is_reason
from inborn.errors import InternalError
from inborn_ca.certificates.der import ECDSA_WITH_SHA256, bit_string, sequence, utc_time

__all__ = ["build_crl", "next_this_update"]

_SECOND = dt.timedelta(seconds=1)

# SEQUENCE of one extension, reasonCode (2.5.29.21), with an ENUMERATED of one octet, which follows (RFC 5280 5.3.1).
_REASON_EXTENSION = bytes.fromhex("300c300a0603551d150403" + "0a01")


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

    Entries are encoded here and not by the library's builder, which takes 12 times as long for 100,000; a property test
    holds the two against each other. Time is linear in the number of entries. A serial that comes twice counts once, as
    it came first; fractions of seconds are cut off. Not checked: that the serials are this issuer's. Raises
    `InternalError`.
    """
    this_update, next_update = this_update.replace(microsecond=0), next_update.replace(microsecond=0)
    if number < 1 or number.bit_length() > 159:
        raise InternalError(f"number of a CRL is not of 1 to 20 octets: {number}")  # RFC 5280 5.2.3
    first: dict[bytes, bytes] = {}
    encoded = _Entries()
    for padded, at, reason in revoked:
        serial = padded.lstrip(b"\0")
        if serial not in first:
            first[serial] = encoded.entry(serial, at, reason)
    entries = [first[serial] for serial in sorted(first, key=lambda octets: (len(octets), octets))]
    empty = _empty(issuer, key, number, this_update, next_update)
    tbs = _with_entries(empty, b"".join(entries), this_update, next_update) if entries else empty
    der = sequence(tbs, ECDSA_WITH_SHA256, bit_string(key.sign(tbs, ec.ECDSA(hashes.SHA256()))))
    _check(der, issuer, number, this_update, next_update, len(entries))
    return der


def _empty(
    issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey, number: int, start: dt.datetime, end: dt.datetime
) -> bytes:
    """The to-be-signed list without entries, in the library's own encoding."""
    subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    try:
        return (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(start)
            .next_update(end)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(authority_key, critical=False)
            .sign(key, hashes.SHA256())
            .tbs_certlist_bytes
        )
    except (ValueError, TypeError) as e:
        raise InternalError(f"CRL {number} cannot be built: {e}") from e


def _with_entries(empty: bytes, entries: bytes, start: dt.datetime, end: dt.datetime) -> bytes:
    """Put the entries between nextUpdate and the extensions (RFC 5280 5.1.2)."""
    times = _time(start) + _time(end)
    found = empty.find(times)
    if found < 0 or empty.count(times) != 1:
        raise InternalError("times of a CRL are not where they should be")
    at = found + len(times)
    body = 2 if empty[1] < 0x80 else 2 + (empty[1] & 0x7F)
    return sequence(empty[body:at], sequence(entries), empty[at:])


class _Entries:
    """Encodes entries; a date comes thousands of times, and is encoded once."""

    def __init__(self) -> None:
        self._dates: dict[dt.datetime, bytes] = {}

    def entry(self, serial: bytes, at: dt.datetime, reason: int) -> bytes:
        if not serial:
            raise InternalError("serial in a CRL is not positive")
        at = at.replace(microsecond=0)
        date = self._dates.get(at)
        if date is None:
            date = self._dates[at] = _time(at)
        if serial[0] & 0x80:
            serial = b"\0" + serial
        number = b"\x02" + bytes((len(serial),)) + serial
        if not reason:
            return b"\x30" + bytes((len(number) + len(date),)) + number + date
        if not is_reason(reason):
            raise InternalError(f"reason {reason} cannot stand in a CRL (RFC 5280 5.3.1)")
        return sequence(number, date, _REASON_EXTENSION + bytes((reason,)))


def _time(at: dt.datetime) -> bytes:
    """A Time: UTCTime before 2050, GeneralizedTime from then on (RFC 5280 5.1.2.4)."""
    if at.tzinfo is None:
        raise InternalError(f"time of a CRL has no time zone: {at}")
    at = at.astimezone(dt.UTC)
    if 1950 <= at.year < 2050:
        return b"\x17\x0d" + utc_time(at)
    return b"\x18\x0f" + f"{at:%Y%m%d%H%M%S}Z".encode()


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
