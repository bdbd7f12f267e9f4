"""The CRLs that are shown to the world: the newest of each authority, and nothing that has not been checked (pure).

The front publishes what the signer has made, and it is the front that strangers talk to, so each CRL is read again
here: a list that cannot be parsed or that its authority did not sign would make software that is not ours refuse
everybody, and one older than a list that was shown before would let in who had been refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from inborn._internal.spiffe.certificate_parts import InvalidSvid, key_identifiers
from inborn.errors import InternalError

__all__ = ["CrlRefused", "CrlShelf", "PublishedCrl"]

MAX_AUTHORITIES = 1024  # a handful of CAs, each with a few alive; as in the agent


class CrlRefused(InternalError):
    """A CRL is not published; the one before it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCrl:
    """One authority's list, checked."""

    authority: bytes
    """Its subject key identifier."""
    is_root: bool
    der: bytes
    number: int
    this_update: dt.datetime
    next_update: dt.datetime
    certificates: int
    """How many it names."""
    digest: str
    """SHA-256 of the DER, in hex: whoever has it already need not be sent it again."""


class CrlShelf:
    """`put` what the signer says, `get` and `published` what may be shown."""

    def __init__(self) -> None:
        self._newest: dict[bytes, PublishedCrl] = {}
        self._shown: frozenset[bytes] = frozenset()

    def put(self, crls: Iterable[tuple[bytes, bytes]]) -> list[CrlRefused]:
        """Take each authority's certificate and its CRL (DER; empty: it has none), all of them.

        What is refused is returned, and leaves that authority's list as it was. An authority that is not named any
        more is not shown any more, and remembered: its old lists do not come back either.
        """
        refused: list[CrlRefused] = []
        shown: set[bytes] = set()
        for certificate_der, der in crls:
            try:
                certificate, authority = _read_authority(certificate_der)
                before = self._newest.get(authority)
                shown.add(authority)
                if der and (before is None or before.der != der):
                    published = _read(certificate, authority, der)
                    _check_follows(published, before)
                    if before is None and len(self._newest) >= MAX_AUTHORITIES:
                        raise CrlRefused(f"there are CRLs of {MAX_AUTHORITIES} authorities already")
                    self._newest[authority] = published
            except CrlRefused as e:
                refused.append(e)
        self._shown = frozenset(shown)
        return refused

    def get(self, authority: bytes) -> PublishedCrl | None:
        """One authority's list."""
        return self._newest.get(authority) if authority in self._shown else None

    def published(self) -> list[PublishedCrl]:
        """All of them, by the authorities' key identifiers."""
        return [self._newest[authority] for authority in sorted(self._shown) if authority in self._newest]


def _read_authority(der: bytes) -> tuple[x509.Certificate, bytes]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        authority, _ = key_identifiers(certificate)
    except (ValueError, UnsupportedAlgorithm, InvalidSvid) as e:
        raise CrlRefused("certificate of an authority cannot be read") from e
    if not authority:
        raise CrlRefused("certificate of an authority has no subject key identifier")
    return certificate, authority


def _read(certificate: x509.Certificate, authority: bytes, der: bytes) -> PublishedCrl:
    name = authority.hex()
    try:
        crl = x509.load_der_x509_crl(der)
        # A key that cannot sign makes it raise.
        is_signed = crl.issuer == certificate.subject and crl.is_signature_valid(
            certificate.public_key()  # type: ignore[arg-type]
        )
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        this_update, next_update, certificates = crl.last_update_utc, crl.next_update_utc, len(crl)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as e:
        raise CrlRefused(f"CRL of authority {name} cannot be read: {e}") from e
    if not is_signed:
        raise CrlRefused(f"CRL of authority {name} was not signed by it")
    if next_update is None or next_update <= this_update:
        raise CrlRefused(f"CRL {number} of authority {name} has no time in which it is valid")
    return PublishedCrl(
        authority=authority,
        is_root=certificate.issuer == certificate.subject,
        der=der,
        number=number,
        this_update=this_update,
        next_update=next_update,
        certificates=certificates,
        digest=hashlib.sha256(der).hexdigest(),
    )


def _check_follows(crl: PublishedCrl, before: PublishedCrl | None) -> None:
    """Both must rise: OpenSSL goes by thisUpdate, in whole seconds, others by the number (RFC 5280 5.2.3)."""
    if before is not None and (crl.number <= before.number or crl.this_update <= before.this_update):
        raise CrlRefused(
            f"CRL {crl.number} of authority {crl.authority.hex()} is not newer than {before.number}, "
            f"shown is {before.this_update:%Y-%m-%dT%H:%M:%SZ}, came {crl.this_update:%Y-%m-%dT%H:%M:%SZ}"
        )
