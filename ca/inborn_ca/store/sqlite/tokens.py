"""Join tokens and their uses: the tables `token` and `token_use`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

import datetime as dt
import json

from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn.errors import NotFoundError
from inborn_ca.model.records import MemberKind, Token
from inborn_ca.store.sqlite import statements
from inborn_ca.store.sqlite.codec import (
    Row,
    from_micros,
    id_or_none,
    json_text,
    micros_or_none,
    time_or_none,
    to_micros,
)
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["TokenReads", "TokenWrites"]

_COLUMNS = "id, public_key, kind, uses, created_at, expires_at, created_by, spiffe_id, name, groups, withdrawn_at"


class TokenReads:
    """Reads of `interface.tokens`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def all(self) -> list[Token]:
        return [_token(row) for row in self._handle.rows(f"SELECT {_COLUMNS} FROM token ORDER BY created_at, id")]

    def get(self, token_id: bytes) -> Token | None:
        row = self._handle.row(f"SELECT {_COLUMNS} FROM token WHERE id = ?", (token_id,))
        return None if row is None else _token(row)

    def uses(self, token_id: bytes) -> dict[bytes, SpiffeId]:
        rows = self._handle.rows(
            "SELECT key_hash, spiffe_id FROM token_use WHERE token_id = ? ORDER BY at, key_hash", (token_id,)
        )
        return {key_hash: parse_spiffe_id(spiffe_id) for key_hash, spiffe_id in rows}

    def find_use(self, token_id: bytes, key_hash: bytes) -> SpiffeId | None:
        row = self._handle.row(
            "SELECT spiffe_id FROM token_use WHERE token_id = ? AND key_hash = ?", (token_id, key_hash)
        )
        return None if row is None else parse_spiffe_id(row[0])

    def count_uses(self, token_id: bytes) -> int:
        row = self._handle.row("SELECT count(*) FROM token_use WHERE token_id = ?", (token_id,))
        return int(row[0]) if row is not None else 0

    def use_counts(self) -> dict[bytes, int]:
        return dict(self._handle.rows("SELECT token_id, count(*) FROM token_use GROUP BY token_id"))


class TokenWrites(TokenReads):
    """Writes of `interface.tokens`."""

    __slots__ = ()

    def add(self, token: Token) -> None:
        statements.insert(self._handle, "token", _COLUMNS, _row(token))

    def withdraw(self, token_id: bytes, at: dt.datetime) -> None:
        cursor = self._handle.execute(
            "UPDATE token SET withdrawn_at = coalesce(withdrawn_at, ?) WHERE id = ?", (to_micros(at), token_id)
        )
        if not cursor.rowcount:
            raise NotFoundError(f"no token {token_id.hex()}")

    def add_use(self, token_id: bytes, key_hash: bytes, spiffe_id: SpiffeId, at: dt.datetime) -> None:
        self._handle.execute(
            "INSERT INTO token_use VALUES (?, ?, ?, ?)", (token_id, key_hash, str(spiffe_id), to_micros(at))
        )


def _row(record: Token) -> Row:
    return (
        record.id,
        record.public_key,
        str(record.kind),
        record.uses,
        to_micros(record.created_at),
        to_micros(record.expires_at),
        record.created_by,
        None if record.spiffe_id is None else str(record.spiffe_id),
        record.name,
        json_text(record.groups),
        micros_or_none(record.withdrawn_at),
    )


def _token(row: Row) -> Token:
    id_, public_key, kind, uses, created_at, expires_at, created_by, spiffe_id, name, groups, withdrawn_at = row
    return Token(
        id=id_,
        public_key=public_key,
        kind=MemberKind(kind),
        uses=uses,
        created_at=from_micros(created_at),
        expires_at=from_micros(expires_at),
        created_by=created_by,
        spiffe_id=id_or_none(spiffe_id),
        name=name,
        groups=tuple(json.loads(groups)),
        withdrawn_at=time_or_none(withdrawn_at),
    )
