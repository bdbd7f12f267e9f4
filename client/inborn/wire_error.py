"""Errors as they travel: in frames and in gRPC's trailing metadata the same message."""

from __future__ import annotations

from inborn.errors import InbornError, error_from_wire
from inborn_proto import signed_pb2

__all__ = ["error_from_message", "error_to_message"]


def error_to_message(error: InbornError) -> signed_pb2.Error:
    """What of an error goes over the wire: its kind, text, hint and status; never its facts."""
    return signed_pb2.Error(kind=error.kind, message=error.message, hint=error.hint, status=error.status)


def error_from_message(message: signed_pb2.Error) -> InbornError:
    """The error that the other side raised; see `error_from_wire`."""
    return error_from_wire(message.kind, message.message, message.hint, message.status)
