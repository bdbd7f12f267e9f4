"""The check of the pages finds what has gone: pages name modules and functions, and those are renamed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("check")


@pytest.mark.parametrize(
    "name",
    [
        "inborn_ca.signer.commands.issuing.Issuing.issues",
        "inborn_ca.signer.commands.issuing.Issuer.issue",
        "inborn_ca.signer.commands.issued.Issuing.issue",
        "inborn._internal.nowhere",
        "inborn.X509Sources",
    ],
)
def test_name_that_leads_to_nothing_is_found(check: ModuleType, name: str) -> None:
    assert list(check.wrong_names(f"It is decided in `{name}`.")) == [f"there is no `{name}`"]


@pytest.mark.parametrize(
    "name",
    [
        "inborn_ca.signer.commands.issuing.Issuing.issue",
        "inborn_ca.signer.commands.issuing",
        "inborn_ca.signer.commands",
        "inborn.X509Source",
        "inborn.live_peers()",
        "inborn posture list",
    ],
)
def test_name_of_what_is_there_is_taken(check: ModuleType, name: str) -> None:
    assert list(check.wrong_names(f"It is decided in `{name}`.")) == []


def test_file_that_has_gone_is_found_and_what_stands_in_a_listing_is_not_looked_at(check: ModuleType) -> None:
    text = "See `tests/attacks` and `tests/attacks/test_none.py`.\n```\n`tests/nowhere.py` `inborn.nothing`\n```\n"
    assert list(check.wrong_files(text)) == ["there is no file tests/attacks/test_none.py"]
    assert list(check.wrong_names(text)) == []


def test_every_page_is_in_the_index(check: ModuleType) -> None:
    assert list(check.unlisted()) == []


def test_rooms_that_import_each_other_in_a_circle_are_an_error(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = importlib.import_module("rooms")
    monkeypatch.setattr(rooms, "imports", lambda: {"a": {"b"}, "b": {"a"}, "c": {"a"}})
    with pytest.raises(ValueError, match=r"circle: \['a', 'b', 'c'\]"):
        rooms.levels(["a", "b", "c"])


def test_picture_leaves_out_what_follows_from_other_arrows(monkeypatch: pytest.MonkeyPatch, check: ModuleType) -> None:
    rooms = importlib.import_module("rooms")
    monkeypatch.setattr(rooms, "imports", lambda: {"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert list(rooms.arrows(["a", "b", "c"])) == [("a", "b"), ("b", "c")]
    assert rooms.levels(["a", "b", "c"]) == [["a"], ["b"], ["c"]]
