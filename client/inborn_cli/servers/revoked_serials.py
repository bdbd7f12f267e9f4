"""The serials of all certificates that are known to be revoked: for software that can compare a serial and no more.

A revocation by ID, key or prefix names no serials; the CA expands it in the CRLs, which follow within about a second.
Revocations by serial are here at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.source.snapshot import Snapshot
from inborn._internal.spiffe.x509_svid import serial_octets
from inborn.errors import RequestError

__all__ = ["DECIMAL_FILE", "REVOKED_FILE", "RevokedSerials", "list_files"]

REVOKED_FILE = "revoked.lst"
"""One a line, as HAProxy's ssl_c_serial,hex has it: capitals, no leading zeros of the encoding."""
DECIMAL_FILE = "revoked-decimal.lst"
"""The same in decimal, as PostgreSQL's pg_stat_ssl.client_serial has it."""


class RevokedSerials:
    """Remembers what it has read of CRLs, so that one which has not changed costs nothing."""

    def __init__(self) -> None:
        self._read: dict[bytes, frozenset[bytes]] = {}

    def of(self, snapshot: Snapshot) -> frozenset[bytes]:
        """The bytes of each serial. Raises `RequestError` for a CRL that cannot be read."""
        self._read = {crl: self._read.get(crl) or _serials(crl) for crl in snapshot.crls}
        return frozenset().union(_revocations(snapshot), *self._read.values())


def list_files(serials: Iterable[bytes]) -> dict[str, bytes]:
    """Both lists, sorted."""
    ordered = sorted(serials, key=lambda serial: int.from_bytes(serial, "big"))
    return {
        REVOKED_FILE: "".join(f"{serial.hex().upper()}\n" for serial in ordered).encode(),
        DECIMAL_FILE: "".join(f"{int.from_bytes(serial, 'big')}\n" for serial in ordered).encode(),
    }


def _serials(crl: bytes) -> frozenset[bytes]:
    try:
        return frozenset(serial_octets(entry.serial_number) for entry in x509.load_der_x509_crl(crl))
    except ValueError as e:
        raise RequestError("a CRL that was given cannot be read") from e


def _revocations(snapshot: Snapshot) -> frozenset[bytes]:
    while True:
        try:
            return frozenset(
                revocation.value for revocation in snapshot.revocations if revocation.kind is RevocationKind.SERIAL
            )
        except (KeyError, RuntimeError):
            continue  # the set is live, and a revocation was dropped while it was read
