"""Executables made to be dear to hash: at the limit, beyond it, and written anew for every look."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.attest.executable import DEFAULT_HASH_LIMIT
from inborn_agent.attest.unix.attestor import attest_unix

SLEEP = shutil.which("sleep") or "/bin/sleep"
NOBODY = 65534

Sleeper = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def program(short_directory: Path) -> Path:
    """A real program, that grows without a block on the disk."""
    path = short_directory / "large"
    shutil.copyfile(SLEEP, path)
    path.chmod(0o755)
    return path


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Run a program until the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path | str, uid: int | None = None) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([path, "600"], user=uid, group=uid, extra_groups=[] if uid else None))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_executable_of_64_mib_has_a_digest(program: Path, sleeper: Sleeper) -> None:
    os.truncate(program, DEFAULT_HASH_LIMIT)
    with pin_pid(sleeper(program).pid) as process:
        found = {str(selector) for selector in attest_unix(process).selectors}
    with program.open("rb") as file:
        assert f"unix:sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" in found


def test_executable_of_one_octet_more_has_none_and_is_not_read(program: Path, sleeper: Sleeper) -> None:
    os.truncate(program, DEFAULT_HASH_LIMIT + 1)
    with pin_pid(sleeper(program).pid) as process:
        evidence = attest_unix(process)
    assert f"unix:path:{program}" in {str(selector) for selector in evidence.selectors}
    assert not [selector for selector in evidence.selectors if selector.value.startswith("sha256:")]
    assert evidence.hints == ("unix:sha256 left out: the executable has 67108865 bytes, the limit is 67108864",)


@pytest.mark.root
async def test_many_callers_with_executables_that_are_never_the_same_hold_up_nobody_else(
    program: Path, sleeper: Sleeper
) -> None:
    """Files changed a moment ago are hashed each time. Their user pays for it, others do not wait."""
    os.truncate(program, DEFAULT_HASH_LIMIT)
    attestor = WorkloadAttestors()
    pins = [pin_pid(sleeper(program, NOBODY).pid) for _ in range(8)]
    os.utime(program)
    greedy = [asyncio.create_task(attestor.attest(process)) for process in pins]
    with pin_pid(sleeper(SLEEP).pid) as honest:
        for _ in range(3):
            evidence = await attestor.attest(honest)
            assert "unix:uid:0" in {str(selector) for selector in evidence.selectors}
    assert not all(task.done() for task in greedy)
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    for process in pins:
        process.close()
    attestor.close()
