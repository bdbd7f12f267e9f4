"""Selectors: their form, and whose word they are."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.selector import (
    Selector,
    SelectorError,
    TrustClass,
    has_party_boundary,
    parse_selector,
    trust_class,
)


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:uid:0", TrustClass.KERNEL),
        ("unix:sha256:00", TrustClass.KERNEL),
        ("posture:seccomp:filter", TrustClass.KERNEL),
        ("systemd:id:nginx.service", TrustClass.RUNTIME),
        ("systemd:fragment_path:/usr/lib/systemd/system/nginx.service", TrustClass.RUNTIME),
        ("systemd:description:nginx", TrustClass.STARTER),
        ("rootless:image_config_digest:sha256:00", TrustClass.STARTER),
        ("docker:image_config_digest:sha256:00", TrustClass.RUNTIME),
        ("docker:image_id:nginx:latest", TrustClass.STARTER),
        ("docker:label:app:web", TrustClass.STARTER),
        ("docker:env:image_config_digest=x", TrustClass.STARTER),
        ("docker:image_config_digest_x:y", TrustClass.STARTER),
        ("unheard_of:x", TrustClass.STARTER),
    ],
)
def test_each_kind_of_fact_has_its_trust_class(text: str, expected: TrustClass) -> None:
    assert trust_class(parse_selector(text)) is expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], False),
        (["unix:path:/usr/bin/x"], False),
        (["unix:path:/usr/bin/x", "unix:sha256:00"], False),
        (["docker:label:app:web", "docker:env:A=b", "docker:image_id:x:1"], False),
        (["unix:path:/usr/bin/x", "docker:label:app:web"], False),
        (["posture:seccomp:filter", "unix:path:/usr/bin/x"], False),
        (["unheard_of:x"], False),
        (["unix:uid:1000"], True),
        (["unix:path:/usr/bin/x", "unix:user:web"], True),
        (["unix:path:/usr/bin/x", "unix:supplementary_gid:7"], True),
        (["docker:label:app:web", "docker:image_config_digest:sha256:00"], True),
        (["systemd:id:nginx.service"], True),
        (["systemd:fragment_path:/x"], True),
        (["systemd:unheard_of:x"], False),
        (["posture:userns:mapped", "posture:cap_eff:none", "posture:lsm:x"], False),
        (["rootless:image_config_digest:sha256:00", "rootless:label:app:web"], False),
        (["rootless:label:app:web", "unix:uid:1000"], True),
    ],
)
def test_party_boundary_takes_a_fact_that_another_user_cannot_have(texts: list[str], expected: bool) -> None:
    assert has_party_boundary(map(parse_selector, texts)) is expected


def test_a_selector_that_was_refused_once_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(SelectorError):
            parse_selector("unix:")


def test_a_selector_read_twice_is_the_same() -> None:
    assert parse_selector("unix:uid:1234") is parse_selector("unix:uid:1234")
