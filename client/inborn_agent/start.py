"""The beginning of an agent's process, from a command line (`cli`) or from the document of whoever starts it."""

from __future__ import annotations

import os

from inborn._internal.settings.agent_options import AgentOptions
from inborn_cli.child_entry import run_with_settings

__all__ = ["main", "start"]


def start(options: AgentOptions) -> None:
    """Run an agent in this process until SIGTERM or SIGINT. Raises `InbornError`."""
    # Before grpc is loaded: what its core logs has texts of callers in it as they came, and would stand in our log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from inborn._internal.host.log import configure
    from inborn_agent.app import run
    from inborn_agent.settings import AgentSettings

    configure(options.log_level)
    run(AgentSettings.resolve(options))


def main(arguments: list[str]) -> int:
    """`--settings-fd N` is how a supervisor starts it; all else is a command line."""
    if arguments[:1] == ["--settings-fd"]:
        return run_with_settings(arguments, AgentOptions, _run)
    from inborn_agent.cli import main as command

    return command()


def _run(options: AgentOptions) -> int:
    start(options)
    return 0
