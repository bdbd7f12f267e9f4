"""Proof of life over HTTP/2: what is taken out, what is kept, what is refused."""

from __future__ import annotations

import pytest

from inborn_agent.relay.http2_proof import MAX_BYTES_BEFORE_PROOF, PREFACE, Http2Proof, NotHttp2

NONCE = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def frame(kind: int, flags: int = 0, payload: bytes = b"", stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, b"\x00\x03\x00\x00\x00\x64")
SETTINGS_ACK = frame(4, 1)
PING_ACK = frame(6, 1, NONCE)
HEADERS = frame(1, 4, b"headers", stream=1)
DATA = frame(0, 1, b"\x00\x00\x00\x00\x00", stream=1)


def test_greeting_is_empty_settings_and_a_ping() -> None:
    assert Http2Proof(NONCE).greeting == frame(4) + frame(6, 0, NONCE)


@pytest.mark.parametrize(
    "sent",
    [
        [PREFACE, SETTINGS, PING_ACK, SETTINGS_ACK],
        [PREFACE, SETTINGS, SETTINGS_ACK, PING_ACK],
        [PREFACE, SETTINGS, HEADERS, DATA, SETTINGS_ACK, PING_ACK],
        [PREFACE, SETTINGS, PING_ACK, HEADERS, SETTINGS_ACK, DATA],
        [PREFACE, SETTINGS, SETTINGS_ACK, HEADERS, PING_ACK, DATA[:4]],
        [PREFACE, SETTINGS, PING_ACK, SETTINGS_ACK, SETTINGS_ACK, frame(6, 1, b"theirs!!"), HEADERS],
        [PREFACE, SETTINGS, frame(6, 0, b"our ping"), PING_ACK, SETTINGS_ACK],
    ],
)
def test_both_answers_are_taken_out_and_the_order_is_kept(sent: list[bytes]) -> None:
    proof = Http2Proof(NONCE)
    proof.feed(b"".join(sent))
    assert proof.is_complete
    kept = list(sent)
    kept.remove(PING_ACK)
    kept.remove(SETTINGS_ACK)
    assert proof.to_forward() == b"".join(kept)


@pytest.mark.parametrize("missing", [PING_ACK, SETTINGS_ACK])
def test_one_answer_is_not_a_proof(missing: bytes) -> None:
    proof = Http2Proof(NONCE)
    proof.feed(b"".join(piece for piece in (PREFACE, SETTINGS, PING_ACK, SETTINGS_ACK) if piece != missing))
    assert not proof.is_complete
    with pytest.raises(ValueError, match="nothing is forwarded"):
        proof.to_forward()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"P\x00",
        PREFACE + SETTINGS + frame(6, 1, b"\0" * 8),
        PREFACE + SETTINGS + frame(6, 1, NONCE + b"x"),
        PREFACE + SETTINGS + frame(6, 1, b""),
        PREFACE + SETTINGS + PING_ACK + PING_ACK,
        PREFACE + SETTINGS + SETTINGS_ACK + SETTINGS_ACK,
        PREFACE + SETTINGS + frame(4, 1, b"\x00\x03\x00\x00\x00\x64"),
        PREFACE + frame(0, 0, b"x" * 16385, stream=1),
        PREFACE + b"\xff\xff\xff" + bytes(6),
    ],
    ids=range(11),
)
def test_what_breaks_the_rules_is_refused(sent: bytes) -> None:
    proof = Http2Proof(NONCE)
    with pytest.raises(NotHttp2):
        proof.feed(sent)


def test_a_caller_that_talks_and_does_not_answer_is_cut_off() -> None:
    proof = Http2Proof(NONCE)
    proof.feed(PREFACE + SETTINGS)
    data = frame(0, 0, b"x" * 16375, stream=1)  # 16 KiB with its header
    for _ in range(5):
        proof.feed(data)
    with pytest.raises(NotHttp2, match=f"more than {MAX_BYTES_BEFORE_PROOF} bytes"):
        proof.feed(data)
