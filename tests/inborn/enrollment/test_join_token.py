"""Join tokens: one string that holds whom to trust and the seed of a key."""

from __future__ import annotations

import base64
import hashlib
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from inborn._internal.enrollment.join_token import InvalidToken, JoinToken, parse_join_token, token_id
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn.errors import RequestError

TOKEN = JoinToken(trust_domain=TrustDomain("example.org"), bundle_digest=b"\x0b" * 32, seed=b"\x5e" * 32)
TEXT = TOKEN.encode()


def test_token_is_one_word_that_says_its_version_and_trust_domain() -> None:
    assert TEXT.startswith("inborn1-")
    assert TEXT.endswith("-example.org")
    assert TEXT.lower() == TEXT
    assert len(TEXT.split()) == 1


def test_token_reads_back_as_itself() -> None:
    assert parse_join_token(TEXT) == TOKEN


def test_blanks_around_it_are_dropped() -> None:
    assert parse_join_token(f" \t{TEXT}\r\n") == TOKEN


@pytest.mark.parametrize("name", ["-", "a-b-c", "a" * 255, "1.2.3.4"])
def test_trust_domain_may_be_any(name: str) -> None:
    token = JoinToken(trust_domain=TrustDomain(name), bundle_digest=b"\1" * 32, seed=b"\2" * 32)
    assert parse_join_token(token.encode()) == token


def test_key_is_that_of_the_seed() -> None:
    expected = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x5e" * 32).public_key()
    assert TOKEN.public_key == expected.public_bytes_raw()
    signature = TOKEN.private_key.sign(b"csr")
    expected.verify(signature, b"csr")
    assert TOKEN.id == token_id(TOKEN.public_key)
    assert len(TOKEN.id) == 16


def test_id_tells_neither_key_nor_seed() -> None:
    assert TOKEN.id not in TOKEN.public_key
    assert TOKEN.id not in TOKEN.seed


def test_repr_hides_the_seed() -> None:
    for shown in (repr(TOKEN), str(TOKEN), f"{TOKEN}"):
        assert "5e" not in shown
        assert "^" * 4 not in shown
        assert TEXT not in shown


@pytest.mark.parametrize("length", range(len("inborn1-x"), len(TEXT)))
def test_token_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(InvalidToken):
        parse_join_token(TEXT[:length])


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_token_with_one_character_altered_is_refused(at: int) -> None:
    for character in {"a", "b", "7", "-", "A", "0"} - {TEXT[at]}:
        with pytest.raises(InvalidToken):
            parse_join_token(TEXT[:at] + character + TEXT[at + 1 :])


def test_token_of_another_trust_domain_is_refused() -> None:
    """Whoever passes a token on cannot point it elsewhere."""
    with pytest.raises(InvalidToken, match="cut off or altered"):
        parse_join_token(TEXT.replace("example.org", "example.com"))


def test_token_has_one_spelling() -> None:
    """The last character of the base32 has a bit to spare, which must be 0."""
    encoded = TEXT.split("-")[1]
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    spare = alphabet[alphabet.index(encoded[-1]) ^ 1]
    for other in (encoded[:-1] + spare, encoded.upper(), encoded + "=" * 3, encoded + "a", encoded + "aaaaaaaa"):
        with pytest.raises(InvalidToken, match="cut off or altered"):
            parse_join_token(f"inborn1-{other}-example.org")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("inborn2-" + TEXT.removeprefix("inborn1-"), "does not begin with inborn1-"),
        ("INBORN1-" + TEXT.removeprefix("inborn1-"), "does not begin with inborn1-"),
        ("inborn1-", "cut off"),
        ("inborn1--example.org", "cut off"),
        (TEXT + "\u00e4", "not ASCII"),
        (TEXT + "a" * 512, "longer than 512"),
        ("a" * 10_000_000, "longer than 512"),
        (TEXT + " " + TEXT, "cut off or altered"),
        (TEXT.replace("-example", "\n-example"), "cut off or altered"),
    ],
)
def test_what_is_no_token_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidToken, match=why):
        parse_join_token(text)


@pytest.mark.parametrize("name", ["", "Example.org", "a b", "a/b", "\0"])
def test_right_checksum_does_not_make_a_bad_trust_domain_good(name: str) -> None:
    body = b"\x0b" * 32 + b"\x5e" * 32
    checksum = hashlib.sha256(b"inborn join token v1\0" + body + name.encode()).digest()[:4]
    encoded = base64.b32encode(body + checksum).decode().rstrip("=").lower()
    with pytest.raises(InvalidToken):
        parse_join_token(f"inborn1-{encoded}-{name}")


@pytest.mark.parametrize("text", [TEXT[:-1], TEXT[:60], TEXT.upper(), "x" + TEXT, TEXT.replace("example", "exämple")])
def test_refusal_never_shows_the_string(text: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        parse_join_token(text)
    shown = "".join(traceback.format_exception(caught.value))
    secret = TEXT.split("-")[1]
    assert secret[60:80] not in shown.lower()
    assert isinstance(caught.value, RequestError)


@pytest.mark.parametrize(("digest", "seed"), [(31, 32), (33, 32), (32, 0), (32, 64)])
def test_token_is_made_of_32_and_32_octets(digest: int, seed: int) -> None:
    with pytest.raises(InvalidToken):
        JoinToken(trust_domain=TrustDomain("example.org"), bundle_digest=b"d" * digest, seed=b"s" * seed)
