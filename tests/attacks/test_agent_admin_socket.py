"""Attack: somebody who is not root asks the agent's own socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from inborn._internal.process.pinning import PinnedProcess, pin_pid
from inborn._internal.wire.access import CallerClass, CallNotAllowed
from inborn._internal.wire.methods import rpc_methods
from inborn_agent.api.local_access import local_guard, on_admin_socket

NOBODY = 65534
SLEEP = "/bin/sleep"


@pytest.fixture
def pinned(request: pytest.FixtureRequest) -> Iterator[PinnedProcess]:
    command = [*request.param, SLEEP, "60"]
    user = NOBODY if request.param == () else None
    process = subprocess.Popen(command, user=user)
    try:
        with pin_pid(process.pid) as pin:
            yield pin
    finally:
        process.kill()
        process.wait()


def ask(process: PinnedProcess) -> None:
    """Pass the gate of the agent's own socket as this process, for every method behind it."""
    connections: Any = SimpleNamespace(connection=lambda peer: SimpleNamespace(process=process))
    context: Any = SimpleNamespace(peer=lambda: "unix:c1")
    guard = local_guard(connections, on_admin_socket)
    for method in rpc_methods("inborn.agent.v1.AgentAdmin"):
        guard(method.name, context)


def test_the_agents_own_user_may() -> None:
    with pin_pid(os.getpid()) as process:
        assert on_admin_socket(process).kind is CallerClass.AGENT_ADMIN
        ask(process)


@pytest.mark.root
@pytest.mark.parametrize("pinned", [()], indirect=True)
def test_another_user_is_refused(pinned: PinnedProcess) -> None:
    with pytest.raises(CallNotAllowed, match=r"local user may not call .*neither root"):
        ask(pinned)


@pytest.mark.root
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("pinned", [("unshare", "--user", "--map-root-user")], indirect=True)
def test_root_of_another_user_namespace_is_refused(pinned: PinnedProcess) -> None:
    # unshare execs the program when the namespace is made: wait until it has.
    while os.readlink(f"/proc/{pinned.pid}/exe") != os.path.realpath(SLEEP):
        os.sched_yield()
    with pytest.raises(CallNotAllowed, match=r"local user may not call .*user namespace"):
        ask(pinned)
