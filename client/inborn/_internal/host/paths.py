"""Where things lie: one set of rules for command, agent and CA.

The data directory is --data-dir or INBORN_DATA_DIR, else /var/lib/inborn for root and $XDG_STATE_HOME/inborn
(~/.local/state/inborn) for everybody else. What does not outlive the machine's run lies in /run/inborn or
$XDG_RUNTIME_DIR/inborn, but below a data directory that was named: two of them on one machine must not meet.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "MAX_SOCKET_PATH",
    "admin_socket",
    "agent_admin_socket",
    "data_dir",
    "runtime_dir",
    "workload_socket",
]

MAX_SOCKET_PATH = 107  # bytes: sun_path has 108 with its final zero (unix(7))


def data_dir(named: str | Path | None = None) -> Path:
    """The data directory: the one that was named, else INBORN_DATA_DIR, else the default. An absolute path."""
    chosen = named or os.environ.get("INBORN_DATA_DIR")
    return Path(chosen).expanduser().absolute() if chosen else _default_data_dir()


def runtime_dir(data: Path | None = None) -> Path:
    """Where sockets lie that everybody may open. `data` is the data directory in use; None: as `data_dir` says."""
    data = data or data_dir()
    if data == _default_data_dir():
        if os.geteuid() == 0:
            return Path("/run/inborn")
        if runtime := os.environ.get("XDG_RUNTIME_DIR"):
            return Path(runtime) / "inborn"
    return data / "run"


def workload_socket(data: Path | None = None) -> Path:
    """The agent's Workload API socket."""
    return runtime_dir(data) / "api.sock"


def admin_socket(data: Path | None = None) -> Path:
    """The signer's UNIX socket, for admins on the CA's host."""
    return (data or data_dir()) / "ca" / "admin" / "signer.sock"


def agent_admin_socket(data: Path | None = None) -> Path:
    """The agent's own socket, for root and the agent's user."""
    return (data or data_dir()) / "agent" / "admin.sock"


def _default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/inborn")
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(state).expanduser().absolute() / "inborn"
    except RuntimeError:  # a user without a home, as in many containers: the machine's, to read
        return Path("/var/lib/inborn")
