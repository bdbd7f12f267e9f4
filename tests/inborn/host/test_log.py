"""Log lines: their forms, and that one which cannot be written is no error of the program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

PROGRAM = """
from inborn._internal.host.log import configure, get_logger
configure()
log = get_logger("agent.sync")
log.event("feed.connected", ca="ca.example.org:8080", revision=7, note='say "hi" = no\\nline')
log.warning("feed.ended")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("bug")
print("done")
"""


def run(redirection: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    environment.pop("JOURNAL_STREAM", None) if "JOURNAL_STREAM" not in variables else None
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_a_line_has_its_time_in_utc_and_its_fields_quoted() -> None:
    first, second, *_ = run(TZ="Asia/Tokyo").stderr.splitlines()
    form = (
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ INFO inborn\.agent\.sync feed\.connected ca=ca\.example\.org:8080 "
    )
    assert re.match(form, first)
    assert first.endswith('revision=7 note="say \\"hi\\" = no?line"')
    assert "WARNING" in second


def test_a_line_of_json_has_the_same() -> None:
    documents = [json.loads(line) for line in run(INBORN_LOG_FORMAT="json").stderr.splitlines()]
    first = documents[0]
    assert (first["event"], first["revision"], first["level"]) == ("feed.connected", 7, "INFO")
    assert first["note"] == 'say "hi" = no\nline'
    assert any("ZeroDivisionError" in document.get("traceback", "") for document in documents)


def test_every_line_in_the_journal_has_its_priority() -> None:
    """Standard error is the journal where JOURNAL_STREAM names its device and inode."""
    read, write = os.pipe()
    stat = os.fstat(write)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["JOURNAL_STREAM"] = f"{stat.st_dev}:{stat.st_ino}"
    subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, stderr=write, stdout=subprocess.DEVNULL, check=True
    )
    os.close(write)
    with open(read, encoding="utf-8") as journal:
        lines = journal.read().splitlines()
    assert lines[0].startswith("<6>inborn.agent.sync feed.connected ")
    assert lines[1].startswith("<4>")
    assert all(line.startswith("<3>") for line in lines[2:])
    assert run(JOURNAL_STREAM="1:2").stderr.startswith("20")


def test_standard_error_that_is_full_or_closed_ends_no_program() -> None:
    for redirection in ("2>/dev/full", "2>&-"):
        ran = run(redirection)
        assert (ran.stdout, ran.stderr) == ("done\n", "")
