"""The one table of reasons, against the library's and RFC 5280's."""

from __future__ import annotations

import pytest
from cryptography import x509

from inborn._internal.revocation.reason import (
    AUTHORITY_REASONS,
    KEY_COMPROMISE,
    LEAF_REASONS,
    is_reason,
    reason_name,
    reason_number,
)
from inborn.errors import RequestError


def test_names_and_numbers_are_those_of_the_rfc() -> None:
    assert {number: reason_name(number) for number in range(256) if is_reason(number)} == {
        0: "unspecified",
        1: "keyCompromise",
        2: "cACompromise",
        3: "affiliationChanged",
        4: "superseded",
        5: "cessationOfOperation",
        9: "privilegeWithdrawn",
        10: "aACompromise",
    }


@pytest.mark.parametrize("name", [*LEAF_REASONS, *AUTHORITY_REASONS])
def test_every_name_leads_back_to_itself_and_is_known_to_the_library_that_reads_lists(name: str) -> None:
    assert reason_name(reason_number(name)) == name == x509.ReasonFlags(name).value


def test_no_word_means_unspecified() -> None:
    assert reason_number("") == reason_number("unspecified") == 0


@pytest.mark.parametrize("number", [-1, 6, 7, 8, 11, 1000])
def test_holds_and_what_is_no_reason_are_none(number: int) -> None:
    assert not is_reason(number)
    assert reason_name(number) == str(number)


@pytest.mark.parametrize("name", ["certificateHold", "removeFromCRL", "KEYCOMPROMISE", " superseded", "1", "x" * 500])
def test_name_that_is_none_is_refused_in_few_words(name: str) -> None:
    with pytest.raises(RequestError, match="is no reason") as refused:
        reason_number(name)
    assert len(refused.value.message) < 250


def test_key_compromise_is_the_one_that_means_the_key() -> None:
    assert reason_number("keyCompromise") == KEY_COMPROMISE
