"""`inborn agent run`."""

from __future__ import annotations

from typing import Any

import click

from inborn._internal.settings.agent_options import AgentOptions
from inborn_agent.start import start
from inborn_cli.options import data_dir_option, example
from inborn_cli.settings_options import settings_options

__all__ = ["agent_run", "main"]


@click.command(
    "run",
    help="Run the agent of this machine: it stands between the CA and the workloads.\n\n"
    + example("inborn agent run --ca ca.internal:8443 --join-token-file /run/join-token"),
)
@data_dir_option
@settings_options(AgentOptions)
def agent_run(**values: Any) -> None:
    start(AgentOptions(**values))


@click.group()
def _group() -> None:
    """The node agent without the `inborn` command."""


_group.add_command(agent_run)


def main() -> int:
    """Run the command; 0 done, 1 refused or failed, 2 usage."""
    import sys

    from inborn.errors import InbornError

    try:
        _group(standalone_mode=False)
    except InbornError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    return 0
