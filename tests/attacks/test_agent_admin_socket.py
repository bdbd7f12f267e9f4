"""Attack: somebody who is not root asks the agent's own socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from inborn._internal.process.pinning import PinnedProcess, pin_pid
from inborn_agent.api.admin_service import NotAnAdmin, require_admin

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


def test_the_agents_own_user_may() -> None:
    with pin_pid(os.getpid()) as process:
        require_admin(process)


@pytest.mark.root
@pytest.mark.parametrize("pinned", [()], indirect=True)
def test_another_user_is_refused(pinned: PinnedProcess) -> None:
    with pytest.raises(NotAnAdmin, match="neither root"):
        require_admin(pinned)


@pytest.mark.root
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("pinned", [("unshare", "--user", "--map-root-user")], indirect=True)
def test_root_of_another_user_namespace_is_refused(pinned: PinnedProcess) -> None:
    # unshare execs the program when the namespace is made: wait until it has.
    while os.readlink(f"/proc/{pinned.pid}/exe") != os.path.realpath(SLEEP):
        os.sched_yield()
    with pytest.raises(NotAnAdmin, match="user namespace"):
        require_admin(pinned)
