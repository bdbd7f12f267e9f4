"""Selectors: any text is a selector that reads back, or is refused."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from inborn._internal.selectors.selector import SelectorError, parse_selector
from inborn._internal.selectors.trust import trust_class


@given(st.text() | st.text().map("unix:".__add__))
@example("unix:uid:1\n")
def test_a_selector_reads_back_and_stays_on_one_line(text: str) -> None:
    try:
        selector = parse_selector(text)
    except SelectorError as error:
        refusal = error.message.splitlines()
    else:
        refusal = [""]
        assert str(selector) == text
        assert parse_selector(str(selector)) == selector
        assert len(text.splitlines()) == 1
        assert len(text.encode()) <= 1024
        trust_class(selector)
    assert len(refusal) == 1
