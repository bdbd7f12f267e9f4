"""Standard streams that are closed, full or read by nobody; arguments that are not UTF-8: never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ID = "spiffe://example.org/web"
INBORN = [sys.executable, "-m", "inborn_cli"]


def run(redirection: str, *words: str | bytes, **variables: str | bytes) -> subprocess.CompletedProcess[bytes]:
    """The command as a shell starts it with this redirection."""
    environment: dict[bytes, bytes] = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    environment[b"PYTHONPATH"] = os.fsencode(os.pathsep.join(sys.path))
    environment |= {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *INBORN, *words]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)


def is_clean(ran: subprocess.CompletedProcess[bytes]) -> bool:
    return not any(word in ran.stdout + ran.stderr for word in (b"Traceback", b"internal", b"Exception ignored"))


@pytest.mark.parametrize(
    ("redirection", "status"),
    [(">/dev/full", 1), (">&-", 0), ("2>&-", 0), ("2>/dev/full", 0), (">&- 2>&-", 0), ("<&-", 0), ("<&- >&- 2>&-", 0)],
)
def test_data_that_cannot_be_written_is_an_error_and_a_closed_stream_is_none(redirection: str, status: int) -> None:
    ran = run(redirection, "svid", "alias", ID)
    assert (ran.returncode, is_clean(ran)) == (status, True), ran.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_error_that_cannot_be_told_keeps_its_status_and_does_not_become_data(redirection: str) -> None:
    ran = run(redirection, "svid", "alias", "nothing")
    assert (ran.returncode, ran.stdout) == (1, b"")


def test_what_is_printed_does_not_go_into_a_file_that_took_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "from inborn._internal.host.streams import open_missing_streams\n"
        "import os, sys\n"
        "open_missing_streams()\n"
        f"fd = os.open({str(tmp_path / 'f')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "print('data'); print('talk', file=sys.stderr)\n"
        "sys.exit(fd <= 2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code], env=environment)
    assert done.returncode == 0
    assert (tmp_path / "f").read_bytes() == b""


@pytest.mark.parametrize(
    "words",
    [
        ("svid", "alias", b"spiffe://example.org/\xff"),
        ("svid", "fetch", "--timeout", "1s", "--socket", b"/tmp/\xff"),
        ("entry", "list", "--data-dir", b"/tmp/\xff"),
        ("token", "create", "--name", b"\xff", "--data-dir", "/nowhere"),
        (b"no\xffverb",),
        ("status", b"--\xff"),
    ],
)
def test_argument_that_is_not_utf_8_is_the_callers_mistake(words: tuple[str | bytes, ...]) -> None:
    ran = run("", *words)
    assert ran.returncode in (1, 2)
    assert is_clean(ran), ran.stderr
    assert ran.stderr.startswith(b"error: ")


def test_variable_that_is_not_utf_8_is_the_callers_mistake() -> None:
    ran = run("", "svid", "fetch", "--timeout", "1s", SPIFFE_ENDPOINT_SOCKET=b"unix:///tmp/\xff")
    assert ran.returncode in (1, 2)
    assert is_clean(ran), ran.stderr
