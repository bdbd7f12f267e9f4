"""The CAs of the database, roots and issuing authorities: the tables `ca` and `authority`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import NotFoundError
from inborn_ca.model.records import AuthorityRecord
from inborn_ca.store.sqlite import statements
from inborn_ca.store.sqlite.codec import Row, from_micros, micros_or_none, time_or_none, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["AuthorityReads", "AuthorityWrites"]

_COLUMNS = (
    "key_id, state, certificate, created_at, activated_at, crl, crl_number, crl_this_update, crl_next_update, ca_id"
)


class AuthorityReads:
    """Reads of `interface.authorities`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def all(self) -> list[AuthorityRecord]:
        return [_authority(row) for row in self._handle.rows(f"SELECT {_COLUMNS} FROM authority ORDER BY id")]

    def serial_states(self) -> dict[str, str]:
        return dict(self._handle.rows("SELECT ca_id, serial_state FROM ca ORDER BY ca_id"))


class AuthorityWrites(AuthorityReads):
    """Writes of `interface.authorities`."""

    __slots__ = ()

    def add_ca(self, ca_id: str, at: dt.datetime) -> None:
        self._handle.execute("INSERT INTO ca VALUES (?, '0:0', ?)", (ca_id, to_micros(at)))

    def set_serial_state(self, ca_id: str, state: str) -> None:
        if not self._handle.execute("UPDATE ca SET serial_state = ? WHERE ca_id = ?", (state, ca_id)).rowcount:
            raise NotFoundError(f"no CA {ca_id}")

    def add(self, authority: AuthorityRecord) -> None:
        statements.insert(self._handle, "authority", _COLUMNS, _row(authority))

    def update(self, authority: AuthorityRecord) -> None:
        key_id, *values = _row(authority)
        columns, what = _COLUMNS.split(", ")[1:], f"authority {authority.key_id.hex()}"
        statements.update(self._handle, "authority", columns, values, "key_id", key_id, what)

    def remove(self, key_id: bytes) -> None:
        statements.delete(self._handle, "authority", "key_id", key_id, f"authority {key_id.hex()}")


def _row(record: AuthorityRecord) -> Row:
    return (
        record.key_id,
        str(record.state),
        record.certificate.public_bytes(Encoding.DER),
        to_micros(record.created_at),
        micros_or_none(record.activated_at),
        record.crl,
        record.crl_number,
        micros_or_none(record.crl_this_update),
        micros_or_none(record.crl_next_update),
        record.ca_id or None,
    )


def _authority(row: Row) -> AuthorityRecord:
    key_id, state, certificate, created_at, activated_at, crl, number, this_update, next_update, ca_id = row
    return AuthorityRecord(
        key_id=key_id,
        state=AuthorityState(state),
        certificate=x509.load_der_x509_certificate(certificate),
        created_at=from_micros(created_at),
        activated_at=time_or_none(activated_at),
        crl=crl,
        crl_number=number,
        crl_this_update=time_or_none(this_update),
        crl_next_update=time_or_none(next_update),
        ca_id=ca_id or "",
    )
