"""Challenges: good for what they were made for, for a minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn_ca.signer.commands.node_attestors.challenge import (
    CHALLENGE_LIFE,
    CHALLENGE_SIZE,
    BadChallenge,
    ChallengeExpired,
    Challenges,
)

KEY_HASH = b"h" * 32
NOW = 1000.0


def challenges(**changed: object) -> Challenges:
    how = {"key": b"k" * 32, "trust_domain": "example.org", "log_id": b"l" * 16} | changed
    return Challenges(how["key"], trust_domain=how["trust_domain"], log_id=how["log_id"])  # type: ignore[arg-type]


def made() -> bytes:
    return challenges().make("x509pop", KEY_HASH, now=NOW, nonce=b"n" * 16)


def test_challenge_is_good_until_its_end() -> None:
    assert len(made()) == CHALLENGE_SIZE
    challenges().check(made(), "x509pop", KEY_HASH, now=NOW)
    challenges().check(made(), "x509pop", KEY_HASH, now=NOW + CHALLENGE_LIFE - 0.01)
    with pytest.raises(ChallengeExpired):
        challenges().check(made(), "x509pop", KEY_HASH, now=NOW + CHALLENGE_LIFE)


@pytest.mark.parametrize("changed", [{"key": b"x" * 32}, {"trust_domain": "example.or"}, {"log_id": b"g" + b"l" * 15}])
def test_challenge_of_another_signer_domain_or_log_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(BadChallenge):
        challenges(**changed).check(made(), "x509pop", KEY_HASH, now=NOW)


def test_challenge_for_another_kind_or_key_is_none() -> None:
    for kind, key_hash in (("x509po", KEY_HASH), ("x509pop", b"i" * 32), ("x509poph", b"h" * 31)):
        with pytest.raises(BadChallenge):
            challenges().check(made(), kind, key_hash, now=NOW)


@given(st.integers(0, CHALLENGE_SIZE * 8 - 1))
def test_challenge_with_one_bit_changed_is_none(bit: int) -> None:
    octets = bytearray(made())
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadChallenge):
        challenges().check(bytes(octets), "x509pop", KEY_HASH, now=NOW)


@given(st.binary(max_size=200))
def test_octets_are_no_challenge(octets: bytes) -> None:
    with pytest.raises(BadChallenge):
        challenges().check(octets, "x509pop", KEY_HASH, now=NOW)
