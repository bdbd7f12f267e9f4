"""`make demo`, as a newcomer sees it: what it tells, what its exit status says, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo.programs import child_environment
from tests.rigs.fixtures_docker import DockerEngine

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 90  # seconds; it takes about ten on a machine with nothing else to do
NOBODY = 65534
TRAFFIC = "Mutual TLS between them"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo makes its directory: short, because of sockets, and open to every user."""
    directory = Path(tempfile.mkdtemp(prefix="dm-", dir="/tmp"))
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


def environment(place: Path, **more: str) -> dict[str, str]:
    return child_environment() | {"TMPDIR": str(place), "DOCKER_HOST": f"unix://{place}/no.sock"} | more


def start(
    place: Path, interpreter: str = sys.executable, user: int | None = None, **more: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [interpreter, "-m", "examples.demo"],
        cwd=place,
        env=environment(place, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )


def finish(demo: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = demo.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        demo.terminate()  # it takes its processes with it
        out, err = demo.communicate(timeout=TIMEOUT)
        pytest.fail(f"the demo does not end:\n{out}\n{err}")
    return demo.returncode, out, err


def read_until(demo: subprocess.Popen[str], part: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if part in line:
            return
    pytest.fail(f"the demo ended before {part!r}: {finish(demo)}")


def assert_nothing_left(place: Path) -> None:
    assert list(place.iterdir()) == []
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(place).encode() in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                left.append((process / "cmdline").read_bytes())
        except OSError:
            continue  # it has ended, or is somebody else's
    assert left == []


def child_that_runs(demo: subprocess.Popen[str], word: str) -> int:
    """The number of the demo's own child with this word on its command line."""
    for task in Path(f"/proc/{demo.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
    raise AssertionError(f"no child runs {word}")


def interpreter_for_everybody() -> str:
    """An interpreter that a user without rights can run with the packages of this one; skips where there is none."""
    major_minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for interpreter in (sys.executable, f"/usr/bin/{major_minor}", f"/usr/local/bin/{major_minor}"):
        try:
            tried = subprocess.run(
                [interpreter, "-c", "import click, grpc, cryptography.x509, examples.demo"],
                env=child_environment(),
                capture_output=True,
                check=False,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return interpreter
    pytest.skip("needs an interpreter and a checkout that every user can enter")


@pytest.mark.docker
def test_every_step_is_checked_with_a_container_as_one_of_the_daemons(place: Path, docker_engine: DockerEngine) -> None:
    status, out, err = finish(start(place, DOCKER_HOST=f"unix://{docker_engine.socket}"))
    assert (status, err) == (0, ""), out + err
    assert "the container is spiffe://demo.test/demo/stock" in out
    assert "Left out" not in out
    assert "checks held" in out.splitlines()[-1]
    assert docker_engine.docker("ps", "--all", "--quiet", "--filter", "name=inborn-demo") == ""
    assert docker_engine.docker("images", "--quiet", "--filter", "reference=inborn-demo-*") == ""
    assert_nothing_left(place)


@pytest.mark.root
def test_as_root_each_daemon_has_a_user_of_its_own_where_others_can_enter(place: Path) -> None:
    status, out, err = finish(start(place, interpreter_for_everybody()))
    assert (status, err) == (0, ""), out + err
    assert "Each daemon gets a user of its own" in out
    assert "Left out: the daemon in a container, because no Docker engine answers" in " ".join(out.split())
    assert_nothing_left(place)


def test_without_root_it_says_that_one_uid_is_no_boundary(place: Path) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    interpreter = interpreter_for_everybody() if user is not None else sys.executable
    status, out, err = finish(start(place, interpreter, user))
    assert (status, err) == (0, ""), out + err
    assert "One uid is no security boundary" in " ".join(out.split())
    assert_nothing_left(place)


def test_interrupted_in_the_middle_it_leaves_nothing_behind(place: Path) -> None:
    demo = start(place)
    read_until(demo, TRAFFIC)
    demo.send_signal(signal.SIGINT)
    status, _, err = finish(demo)
    assert (status, err) == (128 + signal.SIGINT, "error: interrupted by SIGINT\n")
    assert_nothing_left(place)


def test_a_check_that_does_not_hold_ends_it_with_what_was_expected_and_seen(place: Path) -> None:
    demo = start(place)
    read_until(demo, TRAFFIC)
    os.kill(child_that_runs(demo, "inborn_ca.supervisor"), signal.SIGKILL)
    began = time.monotonic()
    status, out, err = finish(demo)
    assert status == 1
    assert err.startswith("error: ")
    assert "\n  expected: " in err
    assert "\n  seen:     " in err
    assert "checks held" not in out
    assert time.monotonic() - began < TIMEOUT
    assert_nothing_left(place)
