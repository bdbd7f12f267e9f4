"""One Inborn for all interop tests, and the foreign programs that have to be built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn_agent.settings import private_runtime_directory
from tests.interop.rig import HERE, System
from tests.rigs.fixtures_up import Machine

BUILDING = 300  # seconds: with nothing in any cache, on a swamped machine
GO_WANTED = (1, 24)  # what go-spiffe asks for


@pytest.fixture(scope="session")
def running_system() -> Iterator[System]:
    """Not below pytest's own directories, whose long names leave no room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="inborn-interop-") as directory:
        machine = Machine(Path(directory) / "d")
        try:
            machine.start()
            yield System(machine)
        finally:
            machine.clean_up()
            # Keys of workloads lie in memory, to outlive an agent that was killed.
            shutil.rmtree(private_runtime_directory(machine.data_dir, os.environ), ignore_errors=True)


@pytest.fixture
def system(running_system: System) -> Iterator[System]:
    running_system.machine.wait_serving()
    yield running_system
    running_system.clear()


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program of these tests, built."""
    if shutil.which("go") is None:
        pytest.skip("needs go: not on PATH")
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO_WANTED:
        pytest.skip(f"needs go {GO_WANTED[0]}.{GO_WANTED[1]} or later: {version.strip()}")
    home = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    download = ["go", "mod", "download"]
    got = subprocess.run(
        download, cwd=HERE / "go", env=os.environ | home, capture_output=True, text=True, timeout=BUILDING, check=False
    )
    if got.returncode != 0:
        pytest.skip(f"needs the Go module proxy: {got.stderr.strip()[-300:]}")
    program = tmp_path_factory.mktemp("go") / "interop"
    build = ["go", "build", "-o", str(program), "."]
    done = subprocess.run(
        build, cwd=HERE / "go", env=os.environ | home, capture_output=True, text=True, timeout=BUILDING, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="session")
def java_command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How to start the Java program of these tests; java compiles it by itself."""
    missing = [program for program in ("mvn", "java", "javac") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: not on PATH")
    directory = tmp_path_factory.mktemp("java")
    shutil.copy(HERE / "java" / "pom.xml", directory)
    command = ["mvn", "-B", "-q", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
    for further in (["--offline"], []):  # what is in the local repository needs no network
        done = subprocess.run(
            command + further, cwd=directory, capture_output=True, text=True, timeout=BUILDING, check=False
        )
        if done.returncode == 0:
            break
    else:
        pytest.skip(f"needs Maven Central: {done.stdout.strip()[-300:]}")
    classpath = (directory / "classpath").read_text(encoding="utf-8").strip()
    return ["java", "-cp", classpath, str(HERE / "java" / "Interop.java")]
