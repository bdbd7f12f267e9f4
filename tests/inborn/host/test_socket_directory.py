"""Directories for inner sockets end with their process, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.host.socket_directory import SocketDirectory, sweep

MAKE = """
import sys, signal
from inborn._internal.host.socket_directory import SocketDirectory
d = SocketDirectory()
print(d.path, flush=True)
signal.pause()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}


def test_directory_of_a_killed_process_is_swept_and_one_in_use_is_not(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", MAKE], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    )
    assert killed.stdout is not None
    assert alive.stdout is not None
    left, used = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    try:
        assert left.exists()
        sweep(tmp_path)
        assert not left.exists()
        assert used.exists()
    finally:
        alive.kill()
        alive.wait()
        killed.stdout.close()
        alive.stdout.close()


def test_directory_is_ours_alone_and_removed() -> None:
    directory = SocketDirectory()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    directory.remove()
    directory.remove()
    assert not directory.path.exists()


def test_child_that_was_forked_off_leaves_the_directory(environment: dict[str, str]) -> None:
    code = """
import os, sys
from inborn._internal.host.socket_directory import SocketDirectory
d = SocketDirectory()
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(d.path.exists())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "True"


def test_link_that_somebody_planted_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").touch()
    (tmp_path / "inborn-socket-x").symlink_to(target)
    sweep(tmp_path)
    assert (target / "file").exists()
