"""Selectors: their form."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.selector import Selector, SelectorError, parse_selector


def test_value_begins_after_the_first_colon_and_may_contain_more() -> None:
    selector = parse_selector("docker:label:app:web")
    assert (selector.type, selector.value) == ("docker", "label:app:web")
    assert str(selector) == "docker:label:app:web"


def test_a_star_is_a_character() -> None:
    assert parse_selector("unix:uid:*") == Selector("unix", "uid:*")


def test_nothing_is_trimmed_or_folded() -> None:
    assert parse_selector("unix: uid:1 ").value == " uid:1 "


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix",
        "unix:",
        ":uid:1",
        "Unix:uid:1",
        "un ix:uid:1",
        " unix:uid:1",
        "ünix:uid:1",
        "unix-x:uid:1",
        "unix:uid:1\n",
        "unix\n:uid:1",
        "unix:uid:1\r",
        "unix:uid:\x00",
        "unix:uid:\x1b[2J",
        "unix:uid:\x7f",
        "unix:uid:\x85",
        "unix:path:/\u2028x",
        "unix:path:/\u2029x",
        "unix:path:/\udcff",
    ],
)
def test_what_is_not_a_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError) as refused:
        parse_selector(text)
    assert "\n" not in refused.value.message


def test_length_is_counted_in_bytes() -> None:
    assert len(str(parse_selector("unix:" + "x" * 1019))) == 1024
    with pytest.raises(SelectorError, match="1025 bytes, at most 1024"):
        parse_selector("unix:" + "x" * 1020)
    with pytest.raises(SelectorError, match="1025 bytes, at most 1024"):
        parse_selector("unix:" + "ä" * 510)


def test_selectors_are_ordered_by_type_then_value() -> None:
    texts = ["unix:uid:2", "docker:env:A=b", "unix:uid:10"]
    assert [str(s) for s in sorted(map(parse_selector, texts))] == ["docker:env:A=b", "unix:uid:10", "unix:uid:2"]


def test_a_selector_that_was_refused_once_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(SelectorError):
            parse_selector("unix:")


def test_a_selector_read_twice_is_the_same() -> None:
    assert parse_selector("unix:uid:1234") is parse_selector("unix:uid:1234")
