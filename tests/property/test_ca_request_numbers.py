"""Each number is taken once, in whatever order the requests arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inborn_ca.model.request_numbers import WINDOW, take


@given(st.lists(st.integers(-5, 2000), max_size=300))
def test_a_number_is_taken_once_and_never_from_below_the_window(numbers: list[int]) -> None:
    last, used = 0, 0
    taken: set[int] = set()
    for number in numbers:
        result = take(last, used, number)
        good = number > 0 and number not in taken and number > last - WINDOW
        assert (result is not None) == good, (number, last)
        if result is not None:
            taken.add(number)
            last, used = result
            assert last == max(taken)
            assert used.bit_length() <= WINDOW


def test_a_huge_step_forgets_the_window() -> None:
    assert take(5, 0b11111, 2**63) == (2**63, 1)
    assert take(2**63, 1, 5) is None
