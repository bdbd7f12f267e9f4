"""CRLs as revocations: for agents that are not Inborn's and fill the `crl` field of the Workload API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.spiffe.certificate_parts import InvalidSvid, key_identifiers
from inborn._internal.spiffe.x509_svid import serial_octets
from inborn.errors import RequestError

__all__ = ["InvalidCrl", "revocations_from_crls"]

_MAX_CRL_SIZE = 8 * 1024 * 1024  # bytes: 200,000 certificates
_MAX_CRLS = 256  # one for each authority


class InvalidCrl(RequestError):
    """A CRL cannot be read, or is of none of the authorities that are known."""


def revocations_from_crls(crls: Sequence[bytes], authorities: Iterable[x509.Certificate]) -> list[Revocation]:
    """A revocation for each certificate that a CRL names, for the authority that signed it (RFC 5280 5, 6.3).

    A CRL that none of `authorities` signed is passed over: it says nothing about what we accept. Raises `InvalidCrl`
    for one that cannot be read. Not checked: nextUpdate (an old list is better than none), CRL numbers, indirect and
    delta CRLs.
    """
    if len(crls) > _MAX_CRLS:
        raise InvalidCrl(f"more than {_MAX_CRLS} CRLs: {len(crls)}")
    known = list(authorities)
    revocations: list[Revocation] = []
    for octets in crls:
        crl = _load(octets)
        signer = next((a for a in known if a.subject == crl.issuer and _is_signed_by(crl, a)), None)
        if signer is None:
            continue
        try:
            authority, _ = key_identifiers(signer)
        except InvalidSvid:
            continue
        if not authority:
            continue
        for entry in crl:
            revocations.append(
                Revocation(
                    seq=len(revocations) + 1,
                    kind=RevocationKind.SERIAL,
                    value=serial_octets(entry.serial_number),
                    cut_offs={authority: None},
                    revoked_at=entry.revocation_date_utc,
                )
            )
    return revocations


def _load(octets: bytes) -> x509.CertificateRevocationList:
    if len(octets) > _MAX_CRL_SIZE:
        raise InvalidCrl(f"CRL is larger than {_MAX_CRL_SIZE} bytes: {len(octets)}")
    try:
        return x509.load_der_x509_crl(octets)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise InvalidCrl("not a DER CRL") from e


def _is_signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
