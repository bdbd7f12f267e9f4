"""Linted once, filled in often: a to-be-signed certificate with five holes.

Theory of operation. For one issuer, ID and set of names a real certificate is prepared with marked values, linted and
cut apart at the marks. What is left is the library's own encoding; filled with serial, validity, key and key identifier
it is, octet for octet, what the library's builder makes for the same values (a property test holds the two against
each other). What does not fit the holes goes to the builder: keys other than P-256, and dates from 2050 on.

Gain: 6 us instead of 240 us a certificate.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import InternalError, moment
from inborn_ca.certificates._prepared import MADE_HERE as _MADE_HERE
from inborn_ca.certificates._prepared import Prepared
from inborn_ca.certificates.der import utc_time
from inborn_ca.certificates.issuance import IssuerExpired, LeafKey, prepare
from inborn_ca.certificates.profile import SERIAL_OCTETS

__all__ = ["Templates"]

MAX_TEMPLATES = 10_000  # about 1 KiB each; the identities that a CA renews within minutes

_SPKI_SIZE = 91  # octets of a P-256 SubjectPublicKeyInfo with an uncompressed point (RFC 5480 2.2)
_SPKI_HEADER = 26  # octets before the point's own, which the key identifier is the digest of (RFC 5280 4.2.1.2)
_UTC_TIME_ENDS = dt.datetime(2050, 1, 1, tzinfo=dt.UTC)  # RFC 5280 4.1.2.5

_MARK_KEY = ec.derive_private_key(0x74656D706C617465, ec.SECP256R1())
_MARK_SERIAL = b"\x7e" * SERIAL_OCTETS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """Octets before the serial, and after each hole: serial, notBefore, notAfter, key, key identifier."""

    parts: tuple[bytes, bytes, bytes, bytes, bytes, bytes]

    def fill(self, serial: bytes, start: bytes, end: bytes, spki: bytes, key_id: bytes) -> bytes:
        a, b, c, d, e, f = self.parts
        return b"".join((a, serial, b, start, c, end, d, spki, e, key_id, f))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validity:
    start: dt.datetime
    end: dt.datetime
    start_octets: bytes
    end_octets: bytes


class Templates:
    """Templates of one issuing authority, the least used forgotten first. Used from one thread."""

    def __init__(self, issuer: x509.Certificate) -> None:
        self._issuer = issuer
        self._authority = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        self._issuer_key = key_sha256(issuer.public_key())
        self._not_before = issuer.not_valid_before_utc
        self._not_after = issuer.not_valid_after_utc
        self._second = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._validities: dict[tuple[dt.timedelta, dt.timedelta], _Validity] = {}
        self._known: OrderedDict[tuple[SpiffeId, tuple[str, ...], str], _Template] = OrderedDict()

    def prepare(
        self,
        *,
        spiffe_id: SpiffeId,
        public_key: LeafKey,
        serial: bytes,
        ttl: dt.timedelta,
        now: dt.datetime,
        backdate: dt.timedelta,
        dns_names: Sequence[str] = (),
        common_name: str = "",
        spki: bytes = b"",
    ) -> Prepared:
        """What `issuance.prepare` gives for the same values, octet for octet, and raises what it raises.

        `spki` is the key's encoding where the caller has it (3 us less); it is not looked at whether it is.
        """
        validity = self._validity(now, ttl, backdate)
        spki = spki or public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        names = tuple(dns_names)
        if not _fits(public_key, spki, serial, validity):
            return prepare(
                spiffe_id=spiffe_id,
                public_key=public_key,
                serial=serial,
                issuer=self._issuer,
                ttl=ttl,
                now=now,
                backdate=backdate,
                dns_names=names,
                common_name=common_name,
            )
        if self._not_after <= now:
            raise IssuerExpired(f"issuing authority expired at {moment(self._not_after)}")
        template = self._template(spiffe_id, names, common_name)
        key_id = hashlib.sha1(spki[_SPKI_HEADER:], usedforsecurity=False).digest()
        return Prepared(
            _MADE_HERE,
            tbs=template.fill(serial, validity.start_octets, validity.end_octets, spki, key_id),
            spiffe_id=spiffe_id,
            serial=serial,
            key_hash=hashlib.sha256(spki).digest(),
            authority=self._authority,
            issuer_key=self._issuer_key,
            not_before=validity.start,
            not_after=validity.end,
        )

    def _validity(self, now: dt.datetime, ttl: dt.timedelta, backdate: dt.timedelta) -> _Validity:
        """From when to when; the same for all of one life within a second, and then made once (3 us less)."""
        second = now.replace(microsecond=0)
        if second != self._second:
            self._second = second
            self._validities.clear()
        known = self._validities.get((ttl, backdate))
        if known is not None:
            return known
        start = max((now - backdate).replace(microsecond=0), self._not_before)
        end = min((now + ttl).replace(microsecond=0), self._not_after)
        validity = _Validity(start=start, end=end, start_octets=utc_time(start), end_octets=utc_time(end))
        if not ttl.microseconds and not backdate.microseconds:  # else it matters where in the second we are
            self._validities[ttl, backdate] = validity
        return validity

    def _template(self, spiffe_id: SpiffeId, names: tuple[str, ...], common_name: str) -> _Template:
        key = (spiffe_id, names, common_name)
        template = self._known.get(key)
        if template is None:
            template = self._known[key] = self._make(spiffe_id, names, common_name)
            if len(self._known) > MAX_TEMPLATES:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return template

    def _make(self, spiffe_id: SpiffeId, names: tuple[str, ...], common_name: str) -> _Template:
        """Prepare a marked certificate, which lints it, and cut it apart."""
        marked_from = self._not_before.replace(microsecond=0) + dt.timedelta(seconds=1)
        public_key = _MARK_KEY.public_key()
        spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        marked = prepare(
            spiffe_id=spiffe_id,
            public_key=public_key,
            serial=_MARK_SERIAL,
            issuer=self._issuer,
            ttl=dt.timedelta(seconds=1),
            now=marked_from,
            backdate=dt.timedelta(0),
            dns_names=names,
            common_name=common_name,
        )
        tbs = marked.unsigned_octets()
        marks = (
            _MARK_SERIAL,
            utc_time(marked.not_before),
            utc_time(marked.not_after),
            spki,
            hashlib.sha1(spki[_SPKI_HEADER:], usedforsecurity=False).digest(),
        )
        parts: list[bytes] = []
        at = 0
        for mark in marks:
            found = tbs.find(mark, at)
            if found < 0:
                raise InternalError(f"template of {spiffe_id} cannot be cut: a mark is not where it should be")
            parts.append(tbs[at:found])
            at = found + len(mark)
        parts.append(tbs[at:])
        a, b, c, d, e, f = parts
        return _Template(parts=(a, b, c, d, e, f))


def _fits(public_key: LeafKey, spki: bytes, serial: bytes, validity: _Validity) -> bool:
    return (
        isinstance(public_key, ec.EllipticCurvePublicKey)
        and len(spki) == _SPKI_SIZE
        and len(serial) == SERIAL_OCTETS
        and 0 < serial[0] < 0x80
        and validity.start < validity.end < _UTC_TIME_ENDS
    )
