"""The frame splitter and the proof do not depend on how a stream is chunked, and fall over no bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inborn_agent.relay.http2_proof import PREFACE, FrameSplitter, Http2Proof, NotHttp2

NONCE = b"12345678"


def frame(kind: int, flags: int, payload: bytes, stream: int) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


# Frames that are no acknowledgements of ours: DATA, HEADERS, WINDOW_UPDATE, a kind that nobody knows.
ordinary = st.builds(
    frame, st.sampled_from([0, 1, 8, 200]), st.integers(0, 255), st.binary(max_size=50), st.integers(0, 2**31 - 1)
)


@st.composite
def chunked(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(st.data(), st.lists(ordinary, max_size=8), st.binary(max_size=8))
def test_splitter_gives_the_same_pieces_for_every_chunking(
    data: st.DataObject, frames: list[bytes], rest: bytes
) -> None:
    splitter = FrameSplitter()
    rest = b"\x00\x00\x09" + rest[3:8]  # the beginning of a frame that is not whole
    pieces = [
        piece for chunk in data.draw(chunked(PREFACE + b"".join(frames) + rest)) for piece in splitter.feed(chunk)
    ]
    assert pieces == [PREFACE, *frames]
    assert splitter.rest == rest


@given(st.data(), st.lists(ordinary, max_size=8), st.booleans())
def test_proof_forwards_the_same_bytes_for_every_chunking_and_order(
    data: st.DataObject, frames: list[bytes], ping_first: bool
) -> None:
    answers = [frame(6, 1, NONCE, 0), frame(4, 1, b"", 0)]
    if not ping_first:
        answers.reverse()
    places = sorted(data.draw(st.tuples(st.integers(0, len(frames)), st.integers(0, len(frames)))))
    sent = [*frames[: places[0]], answers[0], *frames[places[0] : places[1]], answers[1], *frames[places[1] :]]
    proof = Http2Proof(NONCE)
    for chunk in data.draw(chunked(PREFACE + b"".join(sent))):
        proof.feed(chunk)
    assert proof.is_complete
    assert proof.to_forward() == PREFACE + b"".join(frames)


@given(st.lists(st.binary(max_size=64), max_size=10), st.booleans())
def test_any_bytes_are_taken_or_refused_and_prove_nothing(chunks: list[bytes], with_preface: bool) -> None:
    proof = Http2Proof(NONCE)
    try:
        for chunk in [PREFACE, *chunks] if with_preface else chunks:
            proof.feed(chunk)
    except NotHttp2:
        pass
    assert not proof.is_complete or NONCE in b"".join(chunks)
