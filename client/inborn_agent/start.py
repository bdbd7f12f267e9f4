"""The beginning of an agent's process: from the document of whoever starts it, or for `inborn agent run`."""

from __future__ import annotations

import os

from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.settings.child_entry import run_with_settings

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
    """Run an agent by the settings document that the arguments name; the exit status."""
    return run_with_settings(arguments, AgentOptions, _run)


def _run(options: AgentOptions) -> int:
    start(options)
    return 0
