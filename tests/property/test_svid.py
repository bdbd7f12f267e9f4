"""Properties of what reads certificates: nothing that arrives may raise anything but our own errors."""

from __future__ import annotations

import warnings
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inborn._internal.spiffe.x509_svid import (
    CertificateFacts,
    InvalidSvid,
    load_certificate,
    parse_chain,
    read_certificate,
    split_der,
)
from tests.rigs.certificates import Credential, make_issuing, make_leaf, make_root


@cache
def leaf() -> Credential:
    return make_leaf(make_issuing(make_root()), dns_names=("a.example.org",))


structures = st.binary(max_size=300).map(
    lambda body: b"\x30" + (bytes([len(body)]) if len(body) < 128 else _long(len(body))) + body
)


def _long(length: int) -> bytes:
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


@given(st.lists(structures, max_size=8))
def test_split_der_undoes_concatenation(parts: list[bytes]) -> None:
    assert split_der(b"".join(parts)) == parts


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(lambda tail: b"\x30" + tail)))
def test_split_der_loses_nothing_or_refuses(octets: bytes) -> None:
    try:
        parts = split_der(octets)
    except InvalidSvid:
        return
    assert b"".join(parts) == octets


@given(st.lists(structures, max_size=4), st.integers(1, 8))
def test_split_der_refuses_a_stream_that_is_cut_off(parts: list[bytes], cut: int) -> None:
    whole = b"".join([*parts, b"\x30\x09123456789"])
    with pytest.raises(InvalidSvid):
        split_der(whole[:-cut])


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 255), st.sampled_from(["set", "insert", "delete"])),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_certificate_is_refused_or_read(damage: list[tuple[int, int, str]]) -> None:
    octets = bytearray(leaf().der)
    for where, octet, what in damage:
        at = where % len(octets)
        if what == "set":
            octets[at] = octet
        elif what == "insert":
            octets.insert(at, octet)
        else:
            del octets[at]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            facts = read_certificate(load_certificate(bytes(octets)))
        except InvalidSvid:
            return
    assert isinstance(facts, CertificateFacts)


@given(st.binary(max_size=200))
def test_chain_of_anything_is_refused(octets: bytes) -> None:
    with pytest.raises(InvalidSvid):
        parse_chain(octets)
