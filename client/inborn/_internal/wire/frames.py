"""Length-prefixed frames between processes of one host, without input or output.

A frame is 4 bytes, big-endian, the length of what follows, and that many bytes. `FrameReader` takes bytes as they
arrive and gives back whole frames; it refuses a length over the limit before it holds the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from inborn.errors import RequestError

__all__ = ["MAX_FRAME_SIZE", "FrameReader", "FrameTooLarge", "encode_frame"]

MAX_FRAME_SIZE = 16 * 1024 * 1024  # bytes: a snapshot of 100,000 revocations has 10 MiB


class FrameTooLarge(RequestError):
    """A frame is larger than the limit; the connection cannot go on."""


def encode_frame(payload: bytes) -> bytes:
    """Put the length before the payload. Raises `FrameTooLarge`."""
    if len(payload) > MAX_FRAME_SIZE:
        raise FrameTooLarge(f"frame is larger than {MAX_FRAME_SIZE} bytes: {len(payload)}")
    return len(payload).to_bytes(4, "big") + payload


class FrameReader:
    """Cuts a stream of bytes into frames. `limit` may be lower than `MAX_FRAME_SIZE`."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_FRAME_SIZE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes, at once, and yield each frame that is whole. Yielding raises `FrameTooLarge`."""
        self._buffer += data
        return self._whole_frames()

    def _whole_frames(self) -> Iterator[bytes]:
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self._limit:
                raise FrameTooLarge(f"frame is larger than {self._limit} bytes: {length}")
            end = 4 + length
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[4:end])
            del self._buffer[:end]  # moves no bytes: a bytearray gives up its beginning cheaply
            yield frame

    @property
    def is_empty(self) -> bool:
        """Whether the stream may end here without a frame being cut off."""
        return not self._buffer
