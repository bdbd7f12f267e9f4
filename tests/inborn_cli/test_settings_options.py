"""Options that are derived from settings: type, default and variable are the field's."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner

from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.settings.flag import Flag
from inborn_ca.cli import ca_run, up
from inborn_ca.settings import CaSettings
from inborn_cli.settings_options import settings_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    word: Annotated[str, Flag("--word", env="T_WORD", help="A word.", metavar="WORD")] = "a"
    maybe: Annotated[str | None, Flag("--maybe", env="T_MAYBE", help="Perhaps.")] = None
    port: Annotated[int, Flag("--port", env="T_PORT", help="A port.", most=65535)] = 0
    path: Annotated[Path | None, Flag("--path", env="T_PATH", help="A path.")] = None
    life: Annotated[dt.timedelta, Flag("--life", env="T_LIFE", help="A life.")] = dt.timedelta(minutes=1)
    is_on: Annotated[bool, Flag("--on", env="T_ON", help="On.")] = False
    level: Annotated[Literal["low", "high"], Flag("--level", env="T_LEVEL", help="A level.")] = "low"
    words: Annotated[tuple[str, ...], Flag("--each", env="T_EACH", help="Words.")] = ()
    inner: int = 3


def given(arguments: list[str], env: dict[str, str] | None = None, **options: Any) -> Some:
    made: list[Some] = []

    @click.command()
    @settings_options(Some, **options)
    def verb(**values: Any) -> None:
        made.append(Some(**values))

    result = CliRunner().invoke(verb, arguments, env=env or {}, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return made[0]


def test_nothing_that_is_given_means_the_fields_own_defaults() -> None:
    assert given([]) == Some()


def test_each_kind_of_value_is_read_as_its_field_wants_it() -> None:
    words = [
        "--word",
        "b",
        "--maybe",
        "c",
        "--port",
        "8443",
        "--path",
        "/x",
        "--life",
        "5m",
        "--on",
        "--level",
        "HIGH",
        "--each",
        "d",
        "--each",
        "e",
    ]
    assert given(words) == Some(
        word="b",
        maybe="c",
        port=8443,
        path=Path("/x"),
        life=dt.timedelta(minutes=5),
        is_on=True,
        level="high",
        words=("d", "e"),
    )


def test_a_flag_wins_over_its_variable() -> None:
    env = {"T_WORD": "env", "T_PORT": "1", "T_ON": "1", "T_EACH": "d e"}
    assert given(["--word", "flag"], env) == Some(word="flag", port=1, is_on=True, words=("d", "e"))


def test_a_verb_may_have_a_default_of_its_own_and_leave_options_out() -> None:
    assert given([], defaults={"word": "z"}) == Some(word="z")
    with pytest.raises(click.NoSuchOption):
        given(["--word", "b"], leave_out=["word"])


@pytest.mark.parametrize(
    "arguments", [["--port", "65536"], ["--port", "-1"], ["--life", "soon"], ["--level", "middle"], ["--inner", "1"]]
)
def test_what_is_no_value_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        given(arguments)


def test_every_setting_of_ca_and_agent_has_one_option_of_up_with_a_variable_and_a_word_of_help() -> None:
    """But those that say where the agent's CA is and how the agent gets in, which the supervisor knows."""
    options = {option.name: option for option in up.params if isinstance(option, click.Option)}
    assert len(options) == len(up.params)
    left_out = {"ca", "join_token_file", "join_admin_socket", "ready_fd", "agent"}
    left_out |= {"node_attestor", "certificate", "key", "bundle", "pin"}  # `trust_domain` is an option of the CA
    wanted = {field.name for kind in (CaSettings, AgentOptions) for field in fields(kind)} - left_out
    assert set(options) == wanted
    assert all(option.help and str(option.envvar).startswith("INBORN_") for option in options.values())
    assert len({option.envvar for option in options.values()}) == len(options)


def test_up_and_ca_run_differ_in_where_they_listen() -> None:
    listening = [next(option for option in verb.params if option.name == "listen") for verb in (up, ca_run)]
    assert [option.default for option in listening] == ["127.0.0.1", "0.0.0.0"]
