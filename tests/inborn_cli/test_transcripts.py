"""Every file in tests/transcripts is a session with the command: what was typed, and what came of it.

`$ inborn ...` is what was typed. Below it, to the next one: lines of stdout as they are, lines of stderr after `! `,
and `? 1` for an exit status other than 0. `...` at the end of a line stands for its rest. Lines above the first `$` are
remarks.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.inborn_cli.fixtures_cli import Command, FakeCa

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts").glob("*.txt"))

# How far away something is depends on when it is asked.
DISTANCE = re.compile(r"\((in )?[0-9dhms]+( ago)?\)")


def sessions(text: str) -> list[tuple[str, list[str]]]:
    """The command lines with what is expected of each."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ inborn"):
            found.append((line.removeprefix("$ inborn").strip(), []))
        elif found:
            found[-1][1].append(line)
    return found


def transcript_of(inborn: Command, line: str) -> list[str]:
    ran = inborn(line)
    lines = [*ran.out.splitlines(), *(f"! {line}" for line in ran.err.splitlines())]
    if ran.status:
        lines.append(f"? {ran.status}")
    return [DISTANCE.sub("(...)", line) for line in lines]


def fits(expected: str, actual: str) -> bool:
    if expected.endswith("...") and not expected.endswith("(...)"):
        return actual.startswith(expected.removesuffix("..."))
    return actual == expected


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_command_does_what_the_transcript_says(
    path: Path, fake_ca: FakeCa, inborn: Command, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short_dir)
    Path("passphrase").write_text("correct horse\n", encoding="ascii")
    Path("empty").touch()
    for line, expected in sessions(path.read_text(encoding="utf-8")):
        while expected and not expected[-1]:
            expected.pop()  # the empty line before the next command
        actual = [part.replace(str(short_dir), "DIR") for part in transcript_of(inborn, line)]
        assert len(actual) == len(expected), "\n".join([f"$ inborn {line}", *actual])
        assert all(map(fits, expected, actual)), "\n".join([f"$ inborn {line}", *actual])
