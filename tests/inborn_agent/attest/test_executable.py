"""Reading the executable of real processes: its digest is remembered only while the file is the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import FactUnreadable, pin_pid
from inborn_agent.attest.executable import DigestCache, executable_id, read_executable
from inborn_agent.attest.unix.attestor import attest_unix

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    program = tmp_path / "sleeper"
    shutil.copyfile(SLEEP, program)
    program.chmod(0o755)
    process = subprocess.Popen([program, "600"])
    yield program, process
    process.kill()
    process.wait()


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_path_and_digest_are_those_of_the_file_that_runs(sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    program, running = sleeper
    with pin_pid(running.pid) as process:
        executable = read_executable(process)
        assert (executable.path, executable.sha256, executable.hint) == (str(program), digest_of(program), "")
        assert executable.id == executable_id(process)


def test_a_program_replaced_while_it_runs_keeps_its_path_and_its_digest(
    sleeper: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    program, running = sleeper
    digest = digest_of(program)
    fresh = program.with_name("fresh")
    fresh.write_bytes(b"something else")
    fresh.rename(program)
    with pin_pid(running.pid) as process:
        executable = read_executable(process)
        assert (executable.path, executable.sha256) == (str(program), digest)


def test_a_name_that_looks_deleted_is_left_as_it_is(tmp_path: Path) -> None:
    program = tmp_path / "sleep (deleted)"
    shutil.copyfile(SLEEP, program)
    program.chmod(0o755)
    running = subprocess.Popen([program, "600"])
    try:
        with pin_pid(running.pid) as process:
            assert read_executable(process).path == str(program)
    finally:
        running.kill()
        running.wait()


def test_an_executable_beyond_the_limit_has_a_path_and_a_hint(sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    program, running = sleeper
    size = program.stat().st_size
    with pin_pid(running.pid) as process:
        assert read_executable(process, hash_limit=size).sha256 is not None
        executable = read_executable(process, hash_limit=size - 1)
        assert (executable.path, executable.sha256) == (str(program), None)
        assert f"has {size} bytes, the limit is {size - 1}" in executable.hint
        evidence = attest_unix(process, hash_limit=size - 1)
        assert evidence.hints == (executable.hint,)
        assert f"unix:path:{program}" in set(map(str, evidence.selectors))


def test_another_file_is_another_executable(sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    program, running = sleeper
    with pin_pid(running.pid) as process:
        before = executable_id(process)
        os.utime(program)
        assert executable_id(process) != before


def test_a_path_that_is_no_text_is_left_out_with_a_hint(tmp_path: Path) -> None:
    program = os.fsencode(tmp_path) + b"/\xff\n"
    shutil.copyfile(SLEEP, program)
    os.chmod(program, 0o700)
    running = subprocess.Popen([program, "600"])
    try:
        with pin_pid(running.pid) as process:
            evidence = attest_unix(process)
    finally:
        running.kill()
        running.wait()
    kinds = {selector.value.partition(":")[0] for selector in evidence.selectors}
    assert "path" not in kinds
    assert "sha256" in kinds
    assert any("unix:path left out" in hint for hint in evidence.hints)


def test_digests_of_settled_files_are_remembered_and_the_oldest_forgotten() -> None:
    digests = DigestCache(size=2)
    programs = [shutil.which(name) or "" for name in ("sleep", "cat", "ls")]
    for program in programs:
        descriptor = os.open(program, os.O_RDONLY)
        try:
            assert digests.digest(descriptor) == digests.digest(descriptor) == digest_of(Path(program))
        finally:
            os.close(descriptor)
    assert len(digests) == 2


def test_the_digest_of_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    digests = DigestCache()
    file = tmp_path / "file"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            assert digests.digest(descriptor) == hashlib.sha256(content).hexdigest()
        finally:
            os.close(descriptor)
    assert len(digests) == 0


def test_a_file_that_changes_while_it_is_hashed_has_no_digest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(64 << 20))
    descriptor = os.open(file, os.O_RDWR)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            os.pwrite(descriptor, b"x", 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(FactUnreadable, match="changed while it was hashed"):
            DigestCache().digest(descriptor)
    finally:
        stop.set()
        writer.join()
        os.close(descriptor)
