"""Options and types of values that several verbs share."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from inborn._internal.host import paths
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.selectors.demand import parse_demand
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn.errors import InbornError
from inborn_cli.typed_values import InvalidValue, parse_duration, parse_key, parse_moment, parse_reason, parse_serial

__all__ = [
    "DEMAND",
    "DURATION",
    "KEY",
    "LIFE",
    "MOMENT",
    "REASON",
    "SELECTOR",
    "SERIAL",
    "SPIFFE_ID",
    "admin_options",
    "admin_socket_option",
    "agent_socket_option",
    "data_dir_option",
    "example",
    "json_option",
    "socket_option",
    "whole_seconds",
]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])
# Who may pass through a directory may not be able to list it: a daemon and the data directory of root, for one.
_Path = click.Path(path_type=Path, readable=False)

if TYPE_CHECKING:
    _ParamType = click.ParamType[object]
else:
    _ParamType = click.ParamType  # takes no parameter before click 8.4


class _Parsed(_ParamType):
    """A value that one of our parsers reads; what it refuses is a usage error with the parser's words."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except InbornError as error:
            raise click.BadParameter(error.message, ctx=ctx, param=param) from error


def _parse_life(text: str) -> dt.timedelta:
    span = parse_duration(text)
    if not span:
        raise InvalidValue("it must not be zero")
    return span


DEMAND = _Parsed("demand", lambda text: str(parse_demand(text)))
DURATION = _Parsed("duration", parse_duration)
LIFE = _Parsed("duration", _parse_life)
REASON = _Parsed("reason", parse_reason)
MOMENT = _Parsed("time", lambda text: parse_moment(text, now=dt.datetime.now(dt.UTC)))
KEY = _Parsed("sha256", parse_key)
SELECTOR = _Parsed("selector", lambda text: str(parse_selector(text)))
SERIAL = _Parsed("hex", parse_serial)
SPIFFE_ID = _Parsed("spiffe-id", lambda text: str(from_operator_input(text)))


def data_dir_option(command: C) -> C:
    return click.option(
        "--data-dir",
        type=_Path,
        envvar="INBORN_DATA_DIR",
        help="The data directory (default: /var/lib/inborn for root, else below ~/.local/state).",
    )(command)


def admin_options(verb: Callable[Concatenate[AdminClient, P], R]) -> Callable[P, R]:
    """Where the CA is, for verbs of an admin: the verb is given a client of the CA's socket."""

    @functools.wraps(verb)
    def with_ca(*args: P.args, **kwargs: P.kwargs) -> R:
        socket, data_dir = _path(kwargs.pop("admin_socket")), _path(kwargs.pop("data_dir"))
        with AdminClient(socket or paths.admin_socket(paths.data_dir(data_dir))) as ca:
            return verb(ca, *args, **kwargs)

    return data_dir_option(admin_socket_option(with_ca))


def _path(value: object) -> Path | None:
    return value if isinstance(value, Path) else None


def admin_socket_option(command: C) -> C:
    return click.option(
        "--admin-socket",
        type=_Path,
        envvar="INBORN_ADMIN_SOCKET",
        help="The CA's admin socket (default: the one in the data directory).",
    )(command)


def whole_seconds(span: dt.timedelta | None) -> int:
    """A duration for the wire; 0 where none was given, which means the CA's default."""
    return 0 if span is None else int(span.total_seconds())


def agent_socket_option(command: C) -> C:
    """Where the agent's own socket is, for root and the agent's user."""
    return click.option(
        "--agent-socket",
        type=_Path,
        envvar="INBORN_AGENT_SOCKET",
        help="The agent's own socket (default: the one in the data directory).",
    )(command)


def socket_option(command: C) -> C:
    """Where the Workload API is, for verbs of a workload."""
    option = click.option(
        "--socket",
        metavar="PATH",
        envvar="INBORN_SOCKET",
        help="The Workload API's socket (default: SPIFFE_ENDPOINT_SOCKET, else the one in the data directory).",
    )
    # Not data_dir_option: what the environment says of the directory comes after SPIFFE_ENDPOINT_SOCKET, as it does in
    # the library, which reads both itself.
    directory = click.option("--data-dir", type=_Path, help="The data directory of the agent, to find its socket by.")
    return directory(option(command))


def json_option(command: C) -> C:
    return click.option("--json", "is_json", is_flag=True, help="Print JSON.")(command)


def example(line: str) -> str:
    """The end of a verb's help: one real command line."""
    return f"\b\nExample:\n  {line}"
