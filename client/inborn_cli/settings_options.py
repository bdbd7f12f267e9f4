"""Options of a verb, derived from the settings that it starts a process with (`inborn._internal.settings.flag`)."""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from inborn._internal.settings.flag import Flag
from inborn_cli.options import DURATION

__all__ = ["settings_options"]

C = TypeVar("C", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def settings_options(
    kind: type, *, leave_out: Sequence[str] = (), defaults: Mapping[str, object] | None = None
) -> Callable[[C], C]:
    """An option for each field of the dataclass that has a flag; the verb is given the values by the fields' names.

    `defaults` are this verb's, in the place of the fields' own. Not checked: what the dataclass itself refuses.
    """
    hints = get_type_hints(kind, include_extras=True)
    options = []
    for field in fields(kind):
        flag = _flag(hints[field.name])
        if flag is None or field.name in leave_out:
            continue
        default = field.default if field.default is not MISSING else None
        default = (defaults or {}).get(field.name, default)
        options.append(_option(field.name, flag, get_args(hints[field.name])[0], default))

    def decorate(command: C) -> C:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _flag(hint: object) -> Flag | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((each for each in get_args(hint)[1:] if isinstance(each, Flag)), None)


def _option(name: str, flag: Flag, kind: Any, default: object) -> Callable[[C], C]:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    options: dict[str, Any] = {"envvar": flag.env, "help": flag.help, "default": default}
    if flag.metavar:
        options["metavar"] = flag.metavar
    if kind is bool:
        options["is_flag"] = True
    elif get_origin(kind) is Literal:
        options |= {"type": click.Choice(get_args(kind), case_sensitive=False), "show_default": True}
    elif get_origin(kind) is tuple:
        options |= {"multiple": True, "type": get_args(kind)[0]}
    elif kind is int:
        options["type"] = click.IntRange(0, flag.most)
    elif kind is Path:
        options["type"] = _PATH
    elif kind is dt.timedelta:
        options["type"] = DURATION
    else:
        options |= {"type": kind, "show_default": bool(default)}
    return click.option(flag.name, name, **options)
