"""Between the wire and the vocabulary: revocations and errors. Imports no gRPC: not every process has it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import InbornError, RequestError, error_from_wire
from inborn_proto import feed_pb2, signed_pb2

__all__ = [
    "ERROR_METADATA_KEY",
    "MAX_MESSAGE_SIZE",
    "InvalidMessage",
    "UnimplementedError",
    "datetime_from_ms",
    "error_from_message",
    "error_from_status",
    "error_to_message",
    "error_to_metadata",
    "ms_from_datetime",
    "parse_message",
    "revocation_from_wire",
    "revocation_to_wire",
]

ERROR_METADATA_KEY = "inborn-error-bin"
"""Where a refused call's `Error` travels: gRPC's trailing metadata."""

MAX_MESSAGE_SIZE = 16 * 1024 * 1024  # bytes of one gRPC message: a snapshot of 100,000 revocations has 10 MiB
_MAX_ERROR_SIZE = 6 * 1024  # bytes: gRPC refuses metadata above 8 KiB
_MAX_CUT_OFFS = (
    1024  # authorities that one revocation names: a trust domain has a handful of CAs, each with a few alive
)
_VALUE_SIZES = {
    RevocationKind.SERIAL: range(1, 21),
    RevocationKind.KEY: range(32, 33),
    RevocationKind.AUTHORITY: range(1, 65),
}
_TEXT_LIMIT = 1024  # characters of an error's message or hint as it is sent

# gRPC statuses that are made by gRPC itself and have no class here, and the family they belong to.
_FOREIGN_STATUS = {1: 14, 4: 14, 10: 14, 11: 3}


M = TypeVar("M", bound=Message)


class InvalidMessage(RequestError):
    """A message cannot be read, or says something that no message may say."""


class UnimplementedError(RequestError):
    """The other side does not have this call."""

    status = 12  # UNIMPLEMENTED


def parse_message(message_type: type[M], octets: bytes, what: str) -> M:
    """Raises `RequestError`, which calls the message `what`. Not checked: its fields and its size."""
    message = message_type()
    try:
        message.ParseFromString(octets)
    except DecodeError as e:
        raise RequestError(f"{what} cannot be read") from e
    return message


def revocation_to_wire(revocation: Revocation) -> feed_pb2.Revocation:
    return feed_pb2.Revocation(
        seq=revocation.seq,
        kind=revocation.kind.name,  # the names and numbers are the same
        value=revocation.value,
        cut_offs=[
            feed_pb2.CutOff(authority=authority, serial=serial or b"")
            for authority, serial in sorted(revocation.cut_offs.items())
        ],
        reason=revocation.reason,
        blocks=revocation.blocks,
        revoked_at_ms=ms_from_datetime(revocation.revoked_at) if revocation.revoked_at else 0,
    )


def revocation_from_wire(wire: feed_pb2.Revocation) -> Revocation:
    """Raises `InvalidMessage`: for a kind that this program does not know as well, because a revocation that it cannot
    enforce must not be passed over in silence."""
    try:
        kind = RevocationKind(wire.kind)
    except ValueError as e:
        raise InvalidMessage(f"revocation {wire.seq} is of kind {wire.kind}, which this version does not know") from e
    if wire.seq < 1:
        raise InvalidMessage("revocation has no seq")
    if len(wire.cut_offs) > _MAX_CUT_OFFS:
        raise InvalidMessage(f"revocation {wire.seq} has more than {_MAX_CUT_OFFS} cut-offs: {len(wire.cut_offs)}")
    if kind in (RevocationKind.SPIFFE_ID, RevocationKind.ID_PREFIX):
        try:
            parse_spiffe_id(wire.value.decode())
        except (UnicodeDecodeError, RequestError) as e:
            raise InvalidMessage(f"revocation {wire.seq} names no SPIFFE ID") from e
    elif len(wire.value) not in _VALUE_SIZES[kind]:
        raise InvalidMessage(f"revocation {wire.seq} has a {kind.name.lower()} of {len(wire.value)} bytes")
    return Revocation(
        seq=wire.seq,
        kind=kind,
        value=wire.value,
        cut_offs={cut_off.authority: cut_off.serial or None for cut_off in wire.cut_offs},
        reason=wire.reason,
        blocks=wire.blocks,
        revoked_at=datetime_from_ms(wire.revoked_at_ms) if wire.revoked_at_ms else None,
    )


def datetime_from_ms(milliseconds: int) -> dt.datetime:
    """Raises `InvalidMessage` for a time that no calendar has."""
    try:
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError) as e:
        raise InvalidMessage(f"time is out of range: {milliseconds} ms") from e


def ms_from_datetime(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)


def error_to_message(error: InbornError) -> signed_pb2.Error:
    return signed_pb2.Error(
        kind=error.kind, message=error.message[:_TEXT_LIMIT], hint=error.hint[:_TEXT_LIMIT], status=error.status
    )


def error_from_message(wire: signed_pb2.Error) -> InbornError:
    return error_from_wire(wire.kind, wire.message, wire.hint, wire.status)


def error_to_metadata(error: InbornError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries the error's type."""
    return ((ERROR_METADATA_KEY, error_to_message(error).SerializeToString()),)


def error_from_status(status: int, details: str, metadata: Iterable[tuple[str, str | bytes]]) -> InbornError:
    """The error that the other side of a call raised; where it is none of ours, the family that the status names."""
    for key, value in metadata:
        if key == ERROR_METADATA_KEY and isinstance(value, bytes) and len(value) <= _MAX_ERROR_SIZE:
            try:
                wire = signed_pb2.Error.FromString(value)
            except DecodeError:
                break
            return error_from_message(wire)
    kind = UnimplementedError.__name__ if status == UnimplementedError.status else ""
    return error_from_wire(kind, details, "", _FOREIGN_STATUS.get(status, status))
