"""Revocations on disk: one log after the other, as libraries are given them, so that there is one parser for both.

A daemon without an agent keeps them in a file of their own; the agent behind what else it knows of the domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from inborn._internal.feed.log_parts import LogReader, log_to_wire
from inborn._internal.host.files import CorruptFile, read_sealed, write_sealed
from inborn._internal.revocation.revocation_log import RevocationLog
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.wire.frames import FrameReader, encode_frame
from inborn.errors import InbornError, InternalError
from inborn_proto import agent_pb2

__all__ = ["KeptRevocations", "UnreadableRevocations", "frames_in", "log_frames", "read_logs"]

_MAX_FRAME = 16 * 1024 * 1024  # bytes: as large as a message of a feed may be


class UnreadableRevocations(InternalError):
    """What was revoked cannot be read, and a beginning without it would accept whom it refused before."""


class KeptRevocations:
    """The file in `directory`. Methods block."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "revocations"

    def load(self) -> RevocationSet:
        """What was known when it was kept; empty if nothing was. Raises `UnreadableRevocations`: it is not set aside,
        because that would be a way to have revoked peers accepted while the CA is away."""
        kept = RevocationSet()
        try:
            data = read_sealed(self._path)
            if data is None:
                return kept
            logs = read_logs(frames_in(data))
            if not logs:
                raise CorruptFile("it is empty")
            for log in logs:
                kept.apply_log(log)
        except InbornError as error:
            raise UnreadableRevocations(
                f"{self._path} cannot be read: {error.message}", hint="remove the directory and enroll anew"
            ) from error
        return kept

    def save(self, revocations: RevocationSet) -> None:
        """Raises `UnavailableError`."""
        write_sealed(self._path, [frame for log in revocations.logs() for frame in log_frames(log)])


def log_frames(log: RevocationLog) -> list[bytes]:
    """The log, as `read_logs` reads it."""
    return [encode_frame(message.SerializeToString()) for message in log_to_wire(log)]


def frames_in(data: bytes) -> Iterator[bytes]:
    """The messages in a file. Yielding raises `CorruptFile`, `FrameTooLarge`."""
    reader = FrameReader(limit=_MAX_FRAME)
    yield from reader.feed(data)
    if not reader.is_empty:
        raise CorruptFile("it is cut off")


def read_logs(frames: Iterable[bytes]) -> list[RevocationLog]:
    """The revocation logs in these messages. Raises `CorruptFile`, or what their revocations raise."""
    reader = LogReader()
    try:
        read = [reader.read(agent_pb2.Revocations.FromString(frame)) for frame in frames]
    except DecodeError as error:
        raise CorruptFile("it is not a part of a revocation log") from error
    if reader.is_between:
        raise CorruptFile("a revocation log is cut off")
    return [log for log in read if log is not None]
