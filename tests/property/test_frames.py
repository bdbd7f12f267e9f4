"""Frames come out as they went in, however the stream is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.wire.frames import FrameReader, FrameTooLarge, encode_frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 20), max_size=30), st.booleans())
def test_frames_come_out_as_they_went_in(payloads: list[bytes], cuts: list[int], is_lazy: bool) -> None:
    stream = b"".join(map(encode_frame, payloads))
    reader, seen, at = FrameReader(), [], 0
    for cut in [*cuts, len(stream)]:
        frames = reader.feed(stream[at : at + cut])
        if not is_lazy:
            seen += frames
        at += cut
    seen += reader.feed(b"")
    assert seen == payloads
    assert reader.is_empty


@given(st.binary(max_size=200), st.integers(0, 64))
def test_anything_gives_frames_within_the_limit_or_is_refused(octets: bytes, limit: int) -> None:
    reader, taken = FrameReader(limit), 0
    try:
        for frame in reader.feed(octets):
            assert len(frame) <= limit
            taken += 4 + len(frame)
    except FrameTooLarge:
        assert int.from_bytes(octets[taken : taken + 4], "big") > limit
        return
    assert reader.is_empty == (taken == len(octets))
