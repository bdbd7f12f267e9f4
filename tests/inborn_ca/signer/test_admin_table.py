"""The signer's answers to the admin's methods: none left out, none twice, each where it belongs."""

from __future__ import annotations

from typing import Any

import pytest

from inborn._internal.wire import admin_methods
from inborn._internal.wire.admin_methods import METHODS, Effect
from inborn.errors import InternalError
from inborn_ca.signer.api.admin_table import AdminTable


async def answer(message: Any, actor: str) -> Any:
    raise AssertionError("nobody asks")


def filled(*, without: str = "") -> AdminTable:
    table = AdminTable()
    for name, method in METHODS.items():
        if name != without:
            table.later(method, answer)
    return table


def test_complete_table_answers_by_full_name() -> None:
    assert set(filled().complete()) == {method.name for method in METHODS.values()}


@pytest.mark.parametrize("name", METHODS)
def test_method_without_an_answer_keeps_the_signer_from_starting(name: str) -> None:
    with pytest.raises(InternalError, match=f"does not answer {name}$"):
        filled(without=name).complete()


def test_second_answer_is_refused() -> None:
    with pytest.raises(InternalError, match="answered twice"):
        filled().later(admin_methods.BACKUP, answer)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_reads_are_not_queued_and_changes_are_not_made_outside_the_queue(method: Any) -> None:
    table = AdminTable()
    misplaced: Any = table.queued if method.effect is Effect.READS else table.direct
    with pytest.raises(InternalError, match=r"business in the queue|only the queue may"):
        misplaced(method, answer)
