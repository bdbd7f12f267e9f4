"""`inborn agent run`."""

from __future__ import annotations

from typing import Any

import click

from inborn._internal.settings.agent_options import AgentOptions
from inborn_agent.start import start
from inborn_cli.options import data_dir_option, example
from inborn_cli.settings_options import settings_options

__all__ = ["agent_run"]


@click.command(
    "run",
    help="Run the agent of this machine: it stands between the CA and the workloads.\n\n"
    + example("inborn agent run --ca ca.internal:8443 --join-token-file /run/join-token"),
)
@data_dir_option
@settings_options(AgentOptions)
def agent_run(**values: Any) -> None:
    start(AgentOptions(**values))
