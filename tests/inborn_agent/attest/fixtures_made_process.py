"""Pinned processes of any user and control group, for tests of what is read of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import PinMode, PinnedProcess

MakeProcess = Callable[..., PinnedProcess]


@pytest.fixture
def make_process(tmp_path: Path) -> Iterator[MakeProcess]:
    """Make pinned processes of any user, read from directories that stand for theirs below /proc."""
    made: list[PinnedProcess] = []

    def make(*, uid: int = 1000, gid: int = 1000, groups: str = "", cgroup: str = "0::/\n") -> PinnedProcess:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        status = f"Name:\tx\nUid:\t0\t{uid}\t0\t0\nGid:\t0\t{gid}\t0\t0\nGroups:\t{groups} \n"
        (directory / "status").write_text(status)
        (directory / "cgroup").write_text(cgroup)
        (directory / "exe").symlink_to(sys.executable)
        process = PinnedProcess(
            pid=os.getpid(),
            peer_pid=os.getpid(),
            uid=uid,
            gid=gid,
            pidfd=os.pidfd_open(os.getpid()),
            dirfd=os.open(directory, os.O_RDONLY | os.O_DIRECTORY),
            proc=str(tmp_path),
            mode=PinMode.PIDFD_OPEN,
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.close()
