"""The HTTP/2 side of proof of life (pure): make a caller answer, and take the answers out of what it sends.

Theory of operation. Whoever connects gets, from us and before anything else, an empty SETTINGS frame and a PING with
random bytes. Every HTTP/2 client acknowledges both by itself (RFC 9113 6.5.3, 6.7), in either order and anywhere
between its own frames. Both acknowledgements are for us: they are taken out, everything else is kept in its order, and
once both are there the kept bytes are the beginning of a connection to the real server, which then sends SETTINGS of
its own as if it were the first to speak.
"""

from __future__ import annotations

from inborn.errors import DeniedError

__all__ = ["FrameSplitter", "Http2Proof", "NotHttp2"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 3.4
_HEADER = 9
_SETTINGS, _PING, _ACK = 4, 6, 1

# Our SETTINGS leave the defaults of RFC 9113 6.5.2: no frame is longer than this, ...
MAX_FRAME_BYTES = 16384
# ... and no more than 65,535 bytes of data may be sent before the server speaks; the rest is for headers.
MAX_BYTES_BEFORE_PROOF = 96 << 10


class NotHttp2(DeniedError):
    """The caller does not speak HTTP/2, or breaks its rules before it has proven to be there."""


class FrameSplitter:
    """Cuts a client's stream into its preface and its frames, however the stream was chunked."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_preface = False

    @property
    def rest(self) -> bytes:
        """What has come and is not a whole frame yet."""
        return self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Give the preface (first) and the frames that are complete now. Raises `NotHttp2`."""
        pieces: list[bytes] = []
        buffer = self._rest + data
        if not self._has_preface:
            if buffer[: len(PREFACE)] != PREFACE[: len(buffer)]:
                raise NotHttp2("the caller does not speak HTTP/2")
            if len(buffer) >= len(PREFACE):
                self._has_preface = True
                pieces.append(PREFACE)
                buffer = buffer[len(PREFACE) :]
        while self._has_preface and len(buffer) >= _HEADER:
            length = int.from_bytes(buffer[:3], "big")
            if length > MAX_FRAME_BYTES:
                raise NotHttp2(f"the caller sends a frame of {length} bytes, at most {MAX_FRAME_BYTES} are allowed")
            if len(buffer) < _HEADER + length:
                break
            pieces.append(buffer[: _HEADER + length])
            buffer = buffer[_HEADER + length :]
        self._rest = buffer
        return pieces


class Http2Proof:
    """One caller's proof. `nonce` is 8 random bytes that nobody else has seen."""

    def __init__(self, nonce: bytes) -> None:
        if len(nonce) != 8:
            raise ValueError("a PING carries 8 bytes")
        self._nonce = nonce
        self._splitter = FrameSplitter()
        self._kept: list[bytes] = []
        self._size = 0
        self._has_settings_ack = False
        self._has_ping_ack = False

    @property
    def greeting(self) -> bytes:
        """What to send to the caller first."""
        return _frame(_SETTINGS, 0, b"") + _frame(_PING, 0, self._nonce)

    @property
    def is_complete(self) -> bool:
        """Both acknowledgements have come."""
        return self._has_settings_ack and self._has_ping_ack

    def feed(self, data: bytes) -> None:
        """Take bytes of the caller. Not checked: who wrote them. Raises `NotHttp2`."""
        self._size += len(data)
        if self._size > MAX_BYTES_BEFORE_PROOF:
            raise NotHttp2(f"the caller sent more than {MAX_BYTES_BEFORE_PROOF} bytes and did not answer a PING")
        for piece in self._splitter.feed(data):
            if not self._takes(piece):
                self._kept.append(piece)

    def to_forward(self) -> bytes:
        """Everything that the caller sent, without the two acknowledgements, in its order."""
        if not self.is_complete:
            raise ValueError("nothing is forwarded before the proof")
        return b"".join(self._kept) + self._splitter.rest

    def _takes(self, piece: bytes) -> bool:
        # Beyond the proof frames belong to the server, an acknowledgement that nobody asked for included.
        if self.is_complete or piece is PREFACE or not piece[4] & _ACK:
            return False
        if piece[3] == _SETTINGS:
            if self._has_settings_ack or len(piece) != _HEADER:
                raise NotHttp2("the caller acknowledges SETTINGS that nobody sent")
            self._has_settings_ack = True
            return True
        if piece[3] == _PING:
            if self._has_ping_ack or piece[_HEADER:] != self._nonce:
                raise NotHttp2("the caller answers a PING that nobody sent")
            self._has_ping_ack = True
            return True
        return False


def _frame(type_: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((type_, flags)) + bytes(4) + payload
