"""Properties of the join token."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.enrollment.join_token import InvalidToken, JoinToken, parse_join_token
from inborn._internal.spiffe.spiffe_id import TrustDomain

octets = st.binary(min_size=32, max_size=32)
names = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=255)
tokens = st.builds(JoinToken, trust_domain=st.builds(TrustDomain, names), bundle_digest=octets, seed=octets)


@given(tokens)
def test_token_reads_back_as_itself(token: JoinToken) -> None:
    assert parse_join_token(token.encode()) == token


@given(tokens, st.data())
def test_altered_token_is_refused(token: JoinToken, data: st.DataObject) -> None:
    text = token.encode()
    at = data.draw(st.integers(0, len(text) - 1))
    other = text[:at] + data.draw(st.text(string.printable, max_size=2)) + text[at + 1 :]
    if other.strip() == text:
        return
    try:
        parse_join_token(other)
    except InvalidToken:
        return
    raise AssertionError("it was taken")


@given(st.one_of(st.text(max_size=600), st.text(string.printable, max_size=200).map(lambda t: "inborn1-" + t)))
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    try:
        parse_join_token(text)
    except InvalidToken as error:
        refusal = error.message
    else:
        raise AssertionError("it was taken")
    assert refusal.isprintable()
