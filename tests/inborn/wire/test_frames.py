"""Length-prefixed frames."""

from __future__ import annotations

import pytest

from inborn._internal.wire.frames import MAX_FRAME_SIZE, FrameReader, FrameTooLarge, encode_frame
from inborn.errors import RequestError


def test_frame_is_length_and_payload() -> None:
    assert encode_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert encode_frame(b"") == b"\x00\x00\x00\x00"


def test_whole_frames_come_out_and_the_rest_waits() -> None:
    reader = FrameReader()
    assert list(reader.feed(encode_frame(b"a") + encode_frame(b"") + encode_frame(b"bc")[:-1])) == [b"a", b""]
    assert not reader.is_empty
    assert list(reader.feed(b"c")) == [b"bc"]
    assert reader.is_empty


def test_octets_count_from_the_moment_at_which_they_are_fed() -> None:
    """Also where nobody looks at the frames at once."""
    reader = FrameReader()
    reader.feed(encode_frame(b"a")[:3])
    reader.feed(encode_frame(b"a")[3:])
    assert list(reader.feed(b"")) == [b"a"]


def test_whoever_stops_reading_goes_on_where_he_was() -> None:
    reader = FrameReader()
    for frame in reader.feed(encode_frame(b"a") + encode_frame(b"b")):
        assert frame == b"a"
        break
    assert list(reader.feed(encode_frame(b"c"))) == [b"b", b"c"]


def test_feeding_while_reading_gives_each_frame_once() -> None:
    reader = FrameReader()
    seen = []
    for frame in reader.feed(encode_frame(b"a") + encode_frame(b"b")):
        seen.append(frame)
        if frame == b"a":
            seen += reader.feed(encode_frame(b"c"))
    assert seen == [b"a", b"b", b"c"]


def test_too_long_frame_is_refused_by_its_header_alone() -> None:
    reader = FrameReader(limit=10)
    assert list(reader.feed((10).to_bytes(4, "big"))) == []
    with pytest.raises(FrameTooLarge, match="larger than 10 bytes: 4294967295"):
        list(FrameReader(limit=10).feed(b"\xff\xff\xff\xff"))


def test_frames_before_one_that_is_too_long_are_given() -> None:
    reader = FrameReader(limit=1)
    seen = []

    def read() -> None:
        seen.extend(reader.feed(encode_frame(b"a")))
        for frame in reader.feed(encode_frame(b"b") + encode_frame(b"cc")):
            seen.append(frame)

    with pytest.raises(FrameTooLarge):
        read()
    assert seen == [b"a", b"b"]


def test_connection_cannot_go_on_after_a_frame_that_was_too_long() -> None:
    reader = FrameReader(limit=1)
    for octets in (encode_frame(b"cc"), encode_frame(b"a"), b""):
        with pytest.raises(FrameTooLarge):
            list(reader.feed(octets))


def test_frame_may_have_exactly_the_limit() -> None:
    reader = FrameReader(limit=4)
    assert list(reader.feed(encode_frame(b"abcd"))) == [b"abcd"]


def test_payload_over_the_limit_is_not_sent() -> None:
    assert len(encode_frame(bytes(MAX_FRAME_SIZE))) == MAX_FRAME_SIZE + 4
    with pytest.raises(FrameTooLarge, match=str(MAX_FRAME_SIZE)):
        encode_frame(bytes(MAX_FRAME_SIZE + 1))


def test_large_frame_in_small_pieces_does_not_cost_its_square() -> None:
    reader = FrameReader()
    whole = encode_frame(bytes(8 * 1024 * 1024))
    frames = [frame for at in range(0, len(whole), 4096) for frame in reader.feed(whole[at : at + 4096])]
    assert [len(frame) for frame in frames] == [8 * 1024 * 1024]


def test_many_small_frames_at_once_do_not_cost_their_square() -> None:
    reader = FrameReader()
    assert len(list(reader.feed(encode_frame(b"x") * 200_000))) == 200_000


def test_refusal_is_the_senders_fault() -> None:
    assert issubclass(FrameTooLarge, RequestError)
