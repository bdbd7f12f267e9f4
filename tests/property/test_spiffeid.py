"""Properties of the SPIFFE ID parser."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.spiffe.spiffe_id import (
    InvalidSpiffeId,
    SpiffeId,
    TrustDomain,
    from_operator_input,
    parse_spiffe_id,
)

names = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=40)
segments = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
    lambda s: s not in (".", "..")
)
paths = st.lists(segments, max_size=6).map(lambda parts: "".join(f"/{part}" for part in parts))
ids = st.builds(SpiffeId, trust_domain=st.builds(TrustDomain, names), path=paths)

# Characters that matter to a parser of URIs, in reach of each other.
tricky = st.text(st.sampled_from("spife:/.@?#%[]\\ \n\0aA0-_ä\u212a"), max_size=30)
near = st.one_of(
    tricky, tricky.map(lambda text: "spiffe://" + text), tricky.map(lambda t: "spiffe://a.b/" + t), st.text()
)


@given(ids)
def test_what_is_valid_reads_back_as_itself(spiffe_id: SpiffeId) -> None:
    assert parse_spiffe_id(str(spiffe_id)) == spiffe_id
    assert from_operator_input(str(spiffe_id)) == spiffe_id


@given(near)
def test_text_is_refused_or_is_its_own_normal_form(text: str) -> None:
    try:
        parsed = parse_spiffe_id(text)
    except InvalidSpiffeId:
        return
    assert str(parsed) == text
    assert text.isascii()
    assert set(text.removeprefix("spiffe://")) <= set(string.ascii_letters + string.digits + "._-/")


@given(near)
def test_operator_input_raises_nothing_else_and_gives_what_the_strict_parser_takes(text: str) -> None:
    try:
        parsed = from_operator_input(text)
    except InvalidSpiffeId:
        return
    assert parse_spiffe_id(str(parsed)) == parsed


@given(ids, ids)
def test_below_is_a_comparison_of_segments(one: SpiffeId, other: SpiffeId) -> None:
    ones, others = one.path.split("/"), other.path.split("/")
    expected = one.trust_domain == other.trust_domain and ones[: len(others)] == others
    assert one.is_at_or_below(other) == expected


@given(ids, st.lists(segments, min_size=1, max_size=4))
def test_child_lies_below_its_parent(parent: SpiffeId, more: list[str]) -> None:
    child = parent.child(*more)
    assert child.is_at_or_below(parent)
    assert not parent.is_at_or_below(child)
    assert child.alias != parent.alias
