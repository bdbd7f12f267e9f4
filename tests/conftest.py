"""What every test shares: when a test may be skipped. Fixtures live in files fixtures_*.py beside their
users, or in tests/rigs where many use them, and are loaded from here.

A skip is silence about a behaviour, so CI (INBORN_CI=1) fails on each one whose reason tests/expected_skips.txt does
not expect.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# CI tries the same examples each time, so that a change is judged by what it changes; everybody else's runs go on
# looking for new ones.
settings.register_profile("ci", derandomize=True, database=None)
if os.environ.get("INBORN_CI") == "1":
    settings.load_profile("ci")

# A shell that starts us in the background has us ignore SIGINT, and every program that a test starts would do the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).resolve().parent
EXPECTED_SKIPS = HERE / "expected_skips.txt"

# A container engine that is asked for its version answers in well under a second; one that hangs is as good as none.
ENGINE_TIMEOUT = 10

pytest_plugins = [
    ".".join(path.relative_to(HERE.parent).with_suffix("").parts) for path in sorted(HERE.rglob("fixtures_*.py"))
]
# They import each other, and pytest rewrites the asserts of no module that was imported before it was named.
pytest.register_assert_rewrite(*pytest_plugins)

skips: list[tuple[str, str]] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, with the reason."""
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("docker") is not None and not has_docker():
        pytest.skip("needs docker: no engine answers, and none can be started (that takes root and dockerd)")
    for marker in item.iter_markers("needs"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: not on PATH")


@cache
def has_docker() -> bool:
    """Whether a Docker engine answers, or can be started by a test."""
    if shutil.which("docker") is None:
        return False
    if os.geteuid() == 0 and shutil.which("dockerd") is not None:
        return True
    try:
        asked = subprocess.run(["docker", "version"], capture_output=True, timeout=ENGINE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember each skipped test."""
    if report.skipped and not hasattr(report, "wasxfail"):
        skips.append((report.nodeid, reason_of(report)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Remember each module that was skipped as a whole."""
    if report.skipped:
        skips.append((report.nodeid, reason_of(report)))


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Take the reason out of a report of a skip."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def unexpected_skips() -> list[str]:
    """Name the skips whose reason matches no line of the list of expected ones."""
    lines = EXPECTED_SKIPS.read_text(encoding="utf-8").splitlines()
    patterns = [re.compile(line) for line in lines if line.strip() and not line.startswith("#")]
    return [f"{test}: {reason}" for test, reason in skips if not any(pattern.search(reason) for pattern in patterns)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Make a run with an unexpected skip a failed one, where CI asks for that."""
    if os.environ.get("INBORN_CI") == "1" and session.exitstatus == pytest.ExitCode.OK and unexpected_skips():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips made the run fail."""
    if os.environ.get("INBORN_CI") != "1":
        return
    unexpected = unexpected_skips()
    if unexpected:
        terminalreporter.section("skips that tests/expected_skips.txt does not expect", red=True)
        for line in unexpected:
            terminalreporter.line(line)
