"""`inborn up`, `inborn ca run` and `inborn ca restore`.

The first two check what was asked for and then become the supervisor: the same process, started anew without click and
all else that it will not need.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from inborn._internal.host import paths
from inborn._internal.host.talk import say
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.settings.document import command_line, sealed_document
from inborn._internal.spiffe.spiffe_id import parse_trust_domain
from inborn.errors import RequestError
from inborn_ca.settings import CaSettings
from inborn_cli.options import data_dir_option, example, json_option
from inborn_cli.output import print_data, print_document
from inborn_cli.settings_options import settings_options

__all__ = ["ca_restore", "ca_run", "up"]

_PATH = click.Path(path_type=Path)
_MAX_PASSPHRASE = 1024  # bytes, as for `ca backup`

# Where its CA is and how it joins, the supervisor tells the agent that it starts.
_NOT_OF_UP = (
    "ca",
    "join_token_file",
    "join_admin_socket",
    "node_attestor",
    "certificate",
    "key",
    "bundle",
    "pin",
    "trust_domain",
    "data_dir",
    "log_level",
    "ready_fd",
)


@click.command(
    help="Run CA and agent for this machine under one command, in the foreground.\n\n"
    "The Workload API's address goes to standard output. Started again it goes on where it was.\n\n"
    + example("inborn up --trust-domain example.org")
)
@data_dir_option
@settings_options(CaSettings)
@settings_options(AgentOptions, leave_out=_NOT_OF_UP)
def up(data_dir: Path | None, **values: Any) -> None:
    of_agent = {field.name: values.pop(field.name) for field in fields(AgentOptions) if field.name not in _NOT_OF_UP}
    if of_agent["socket"] is not None:
        of_agent["socket"] = of_agent["socket"].absolute()
    agent = AgentOptions(**of_agent, log_level=values["log_level"])
    _become_supervisor(_settings(data_dir, agent, values))


@click.command(
    help="Run the certificate authority of a network, in the foreground.\n\n"
    "The address that agents and daemons join at goes to standard output.\n\n"
    + example("inborn ca run --trust-domain example.org --advertise ca.example.org --bootstrap-port 8443")
)
@data_dir_option
@settings_options(CaSettings, defaults={"listen": "0.0.0.0"})  # noqa: S104 -- a CA of a network
def ca_run(data_dir: Path | None, **values: Any) -> None:
    _become_supervisor(_settings(data_dir, None, values))


def _settings(data_dir: Path | None, agent: AgentOptions | None, values: Mapping[str, Any]) -> CaSettings:
    """What was asked for, checked. Raises `RequestError`."""
    name = values["trust_domain"]
    domain = {"trust_domain": parse_trust_domain(name).name if name else ""}
    return CaSettings(**{**values, **domain}, data_dir=paths.data_dir(data_dir), agent=agent)


def _become_supervisor(settings: CaSettings) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = sealed_document(settings)
    os.set_inheritable(descriptor, True)
    # -P: a module in the current directory must not be taken for one of ours.
    command = [sys.executable, "-P", "-m", "inborn_ca.supervisor", *command_line(descriptor)]
    os.execv(sys.executable, command)  # noqa: S606 -- a list of arguments, and no shell


@click.command(
    help="Make a CA from a backup, in a data directory that has none; the next 'inborn up' or 'ca run' starts it.\n\n"
    "It has a new log and a new issuing authority, and no open tokens.\n\n"
    + example("inborn ca restore /var/backups/inborn.backup --passphrase-file /root/inborn.pass")
)
@click.argument("file", type=_PATH)
@click.option(
    "--passphrase-file", type=click.File("rb"), help="The passphrase that the keys were encrypted with; - is stdin."
)
@json_option
@data_dir_option
def ca_restore(file: Path, passphrase_file: IO[bytes] | None, is_json: bool, data_dir: Path | None) -> None:
    from inborn_ca.signer.restore import restore
    from inborn_ca.supervisor.data_directory import DataDirectory

    passphrase = b""
    if passphrase_file is not None:
        passphrase = passphrase_file.read(_MAX_PASSPHRASE + 3).removesuffix(b"\n").removesuffix(b"\r")
        if not 0 < len(passphrase) <= _MAX_PASSPHRASE:
            raise RequestError(f"passphrase is empty or longer than {_MAX_PASSPHRASE} bytes")
    directory = DataDirectory.open(paths.data_dir(data_dir), is_shared=False)
    part = directory.part("ca", (os.geteuid(), os.getegid()))
    restored = restore(file.absolute(), part, passphrase=passphrase, clock=lambda: dt.datetime.now(dt.UTC))
    directory.trust_domain_is_kept()
    if is_json:
        print_document(
            {
                "trust_domain": restored.trust_domain,
                "log_id": restored.log_id.hex(),
                "former_log_id": restored.former_log_id.hex(),
                "keys": restored.keys,
                "tokens_ended": restored.tokens_ended,
            }
        )
        return
    print_data(restored.trust_domain)
    say(f"restored into {directory.path}: a new log {restored.log_id.hex()}, {restored.tokens_ended} tokens ended")
