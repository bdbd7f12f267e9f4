"""SPIFFE IDs and trust domains (SPIFFE-ID 2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inborn._internal.spiffe.spiffe_id import (
    ALIAS_SUFFIX,
    MAX_ID_LENGTH,
    InvalidSpiffeId,
    SpiffeId,
    TrustDomain,
    from_operator_input,
    parse_spiffe_id,
    parse_trust_domain,
)
from inborn.errors import RequestError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "spiffe_id.json").read_text())


def is_accepted(text: str) -> bool:
    try:
        parsed = parse_spiffe_id(text)
    except InvalidSpiffeId:
        return False
    assert str(parsed) == text, "what is accepted is in the normal form already"
    return True


def test_there_are_91_vectors() -> None:
    assert len(VECTORS) == 91
    assert len({v["input"] for v in VECTORS}) == 91


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: ascii(v["input"])[:60])
def test_vector(vector: dict[str, str]) -> None:
    assert is_accepted(vector["input"]) == (vector["expect_strict"] == "accept")


def test_every_octet_in_a_trust_domain() -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    for octet in range(256):
        character = chr(octet)
        # a slash ends the trust domain: what follows is the path
        assert is_accepted(f"spiffe://a{character}b/c") == (character in allowed or character == "/"), hex(octet)
        assert is_accepted(f"spiffe://{character}") == (character in allowed), hex(octet)


def test_every_octet_in_a_path() -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    for octet in range(256):
        character = chr(octet)
        assert is_accepted(f"spiffe://example.org/a{character}b") == (character in allowed or character == "/"), hex(
            octet
        )
        lone = character in allowed and character != "."  # one dot alone is a dot segment
        assert is_accepted(f"spiffe://example.org/{character}") == lone, hex(octet)


@pytest.mark.parametrize(
    "text", ["http://example.org/a", "spiffe:example.org/a", "spiffe:/example.org", "//example.org"]
)
def test_scheme_must_be_spiffe(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("text", ["spiffe://", "spiffe:///", "spiffe:///a"])
def test_trust_domain_must_not_be_empty(text: str) -> None:
    with pytest.raises(InvalidSpiffeId, match="trust domain is empty"):
        parse_spiffe_id(text)


@pytest.mark.parametrize("text", ["spiffe://example.org?", "spiffe://example.org?a=b", "spiffe://example.org/a?b"])
def test_query_is_refused(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("text", ["spiffe://example.org#", "spiffe://example.org/a#b"])
def test_fragment_is_refused(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("host", ["user@example.org", "@example.org", "u:pw@example.org", "example.org:8080", "a.b:"])
def test_userinfo_and_port_are_refused_also_empty_ones(host: str) -> None:
    assert not is_accepted(f"spiffe://{host}/a")


@pytest.mark.parametrize("text", ["spiffe://Example.org/a", "SPIFFE://example.org/a", "Spiffe://example.org/a"])
def test_upper_case_scheme_or_trust_domain_is_refused(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("text", ["spiffe://ex%61mple.org", "spiffe://example.org/%61", "spiffe://example.org/a%2fb"])
def test_percent_encoding_is_refused(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("name", ["1.2.3.4", "-", ".", "..", "a..b", "example.org.", "_", "256.256.256.256", "a_b"])
def test_trust_domain_that_looks_like_an_address_or_a_bad_dns_name_is_nothing_special(name: str) -> None:
    assert is_accepted(f"spiffe://{name}/a")


@pytest.mark.parametrize("name", ["[::1]", "::1"])
def test_ipv6_literal_is_refused(name: str) -> None:
    assert not is_accepted(f"spiffe://{name}/a")


@pytest.mark.parametrize("path", ["/a//b", "//a", "//"])
def test_empty_segment_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpiffeId, match="empty segment"):
        parse_spiffe_id(f"spiffe://example.org{path}")


@pytest.mark.parametrize("path", ["/.", "/..", "/a/./b", "/a/../b", "/a/.."])
def test_dot_segment_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpiffeId, match="dot segment"):
        parse_spiffe_id(f"spiffe://example.org{path}")


@pytest.mark.parametrize("path", ["/", "/a/", "/a/b/"])
def test_trailing_slash_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpiffeId, match="empty segment"):
        parse_spiffe_id(f"spiffe://example.org{path}")


@pytest.mark.parametrize("text", ["spiffe://example.org\n", "spiffe://example.org/a\n", "spiffe://example.org/a\n/b"])
def test_newline_is_refused_also_at_the_end(text: str) -> None:
    assert not is_accepted(text)


@pytest.mark.parametrize("letter", ["ä", "\u202e", "ａ", "。", "\u212a", "\ud800", "٣"])
def test_letters_beyond_ascii_are_refused(letter: str) -> None:
    assert not is_accepted(f"spiffe://example.org/{letter}")
    assert not is_accepted(f"spiffe://{letter}/a")


def test_id_may_have_2048_octets_and_no_more() -> None:
    longest = "spiffe://example.org/"
    longest += "a" * (MAX_ID_LENGTH - len(longest))
    assert is_accepted(longest)
    assert not is_accepted(longest + "a")


def test_id_that_is_put_together_keeps_the_limit() -> None:
    with pytest.raises(InvalidSpiffeId, match="longer than 2048"):
        SpiffeId(trust_domain=TrustDomain("example.org"), path="/" + "a" * MAX_ID_LENGTH)


def test_trust_domain_may_have_255_octets_and_no_more() -> None:
    assert is_accepted("spiffe://" + "a" * 255)
    assert not is_accepted("spiffe://" + "a" * 256)
    with pytest.raises(InvalidSpiffeId, match="longer than 255"):
        TrustDomain("a" * 256)


def test_path_is_compared_by_case() -> None:
    assert parse_spiffe_id("spiffe://example.org/A") != parse_spiffe_id("spiffe://example.org/a")


def test_path_must_begin_with_a_slash() -> None:
    with pytest.raises(InvalidSpiffeId, match="begin with a slash"):
        SpiffeId(trust_domain=TrustDomain("example.org"), path="a")


def test_error_is_the_callers_and_shows_the_text_on_one_short_line() -> None:
    with pytest.raises(RequestError) as caught:
        parse_spiffe_id("spiffe://example.org/a\n\x1b[31m" + "b" * 1000)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


def test_trust_domain_is_a_name_or_an_id_without_a_path() -> None:
    assert parse_trust_domain("example.org") == parse_trust_domain("spiffe://example.org") == TrustDomain("example.org")
    for bad in ("spiffe://example.org/a", "spiffe://example.org/", "Example.org", "", "a/b", "spiffe://"):
        with pytest.raises(InvalidSpiffeId):
            parse_trust_domain(bad)


def test_trust_domains_id_has_no_path() -> None:
    assert str(TrustDomain("example.org").id) == "spiffe://example.org"


@pytest.mark.parametrize("path", ["/inborn", "/inborn/agent/1", "/inborn/ca/x/log", "/inborn/health"])
def test_what_is_inborns_own_is_reserved(path: str) -> None:
    assert parse_spiffe_id(f"spiffe://example.org{path}").is_reserved


@pytest.mark.parametrize("path", ["", "/inbornx", "/a/inborn/agent", "/Inborn/agent", "/inborn-x/a"])
def test_what_only_looks_like_inborns_own_is_not_reserved(path: str) -> None:
    assert not parse_spiffe_id(f"spiffe://example.org{path}").is_reserved


def test_prefix_counts_by_whole_segments() -> None:
    prefix = parse_spiffe_id("spiffe://example.org/a")
    assert parse_spiffe_id("spiffe://example.org/a").is_at_or_below(prefix)
    assert parse_spiffe_id("spiffe://example.org/a/b").is_at_or_below(prefix)
    assert not parse_spiffe_id("spiffe://example.org/ab").is_at_or_below(prefix)
    assert not parse_spiffe_id("spiffe://example.org").is_at_or_below(prefix)
    assert not parse_spiffe_id("spiffe://other.example/a").is_at_or_below(prefix)


def test_everything_of_a_trust_domain_lies_below_its_own_id() -> None:
    whole = TrustDomain("example.org").id
    assert parse_spiffe_id("spiffe://example.org/a").is_at_or_below(whole)
    assert whole.is_at_or_below(whole)
    assert not parse_spiffe_id("spiffe://example.orgx/a").is_at_or_below(whole)


def test_child_adds_segments() -> None:
    assert str(TrustDomain("example.org").id.child("inborn", "agent", "7")) == "spiffe://example.org/inborn/agent/7"


@pytest.mark.parametrize("segment", ["", ".", "..", "a b", "a%2fb", "a/b", "a/../b", "/a"])
def test_child_takes_one_segment_for_each_argument_and_nothing_else(segment: str) -> None:
    with pytest.raises(InvalidSpiffeId):
        TrustDomain("example.org").id.child("inborn", segment)


def test_alias_is_one_dns_label_below_a_name_that_never_is_in_the_dns() -> None:
    # printf %s spiffe://example.org/workload | sha256sum | cut -d' ' -f1 | xxd -r -p | base32
    known = "smu6fdeujb4h34h4wpdfkyc6kftevxjimx7xw6wot5q3khxiguva.spiffe.alt"
    assert parse_spiffe_id("spiffe://example.org/workload").alias == known
    assert known.endswith(ALIAS_SUFFIX)
    assert parse_spiffe_id("spiffe://example.org/Workload").alias != known


def test_operator_may_type_upper_case_and_blanks() -> None:
    assert str(from_operator_input("  SPIFFE://Example.ORG/Path \n")) == "spiffe://example.org/Path"


@pytest.mark.parametrize(
    "text", ["example.org/a", "", "://example.org", "http://example.org", "spiffe://Example.org/a/", "spiffe://a b/c"]
)
def test_operator_input_is_otherwise_as_strict(text: str) -> None:
    with pytest.raises(InvalidSpiffeId):
        from_operator_input(text)


def test_operator_input_does_not_turn_other_letters_into_ascii() -> None:
    """KELVIN SIGN in lower case is an ASCII k: a pasted look-alike must not become another name."""
    with pytest.raises(InvalidSpiffeId):
        from_operator_input("spiffe://\u212aelvin.example/a")
    with pytest.raises(InvalidSpiffeId):
        from_operator_input("spiffe://example.org/a\u2003")
