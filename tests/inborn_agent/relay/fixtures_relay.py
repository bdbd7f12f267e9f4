"""A relay between real processes and a server that shows every byte that reached it."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inborn._internal.process.pinning import PinMode
from inborn_agent.attest import WorkloadAttestors
from inborn_agent.relay.denials import Denial
from inborn_agent.relay.relay import Relay
from inborn_agent.relay.relay_limits import RelayLimits
from inborn_agent.relay.relayed_connection import RelayedConnection

# Long enough for a busy machine, short enough to fail before the suite's own limit.
PATIENCE = 30

# The beginning of every program that plays a caller: HTTP/2 by hand, so that it can be done wrong.
CALLER = r"""
import ctypes, os, resource, signal, socket, sys
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, HEADERS, ACK = 4, 6, 1, 1

def frame(kind, flags=0, payload=b"", stream=0):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

def connect(path=None):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path or sys.argv[1])
    return s

def read_exactly(s, size):
    data = b""
    while len(data) < size:
        part = s.recv(size - len(data))
        if not part:
            raise SystemExit("hung up")
        data += part
    return data

def read_question(s):
    "The server's empty SETTINGS and its PING; gives the answer to the PING."
    greeting = read_exactly(s, 26)
    assert greeting[:9] == frame(SETTINGS) and greeting[9:18] == frame(PING, 0, b"12345678")[:9], greeting
    return frame(PING, ACK, greeting[18:])

def prove(s):
    s.sendall(PREFACE + frame(SETTINGS))
    answer = read_question(s)
    s.sendall(answer + frame(SETTINGS, ACK))

def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

def wait_for_line():
    return sys.stdin.readline()

def wait_for_end(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
"""


def caller(code: str, path: str | Path, *, uid: int | None = None) -> subprocess.Popen[str]:
    """Start a process that runs `code` after `CALLER`, with the socket's path as its argument.

    It becomes `uid` by itself: not every user may enter the directory that the interpreter lies in.
    """
    become = "" if uid is None else f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CALLER + become + code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    )


async def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a caller prints; the loop goes on meanwhile."""
    assert process.stdout is not None
    line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), PATIENCE)
    return line.rstrip("\n")


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    """Send a line to a caller."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


@pytest.fixture
def callers() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to be ended after the test, and whatever they have started."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # not every one leads a group
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name, and that every user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="inborn-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@dataclass
class RelayRig:
    """A relay, what it said, and a server behind it that takes everything down and answers nothing by itself."""

    relay: Relay
    path: Path
    inner: Path
    attestor: WorkloadAttestors
    denials: asyncio.Queue[Denial] = field(default_factory=asyncio.Queue)
    connections: asyncio.Queue[RelayedConnection] = field(default_factory=asyncio.Queue)
    streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=asyncio.Queue)

    async def denial(self) -> Denial:
        """The next caller that was turned away."""
        return await asyncio.wait_for(self.denials.get(), PATIENCE)

    async def connection(self) -> RelayedConnection:
        """The next caller that was let through."""
        return await asyncio.wait_for(self.connections.get(), PATIENCE)

    async def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next connection that the server sees."""
        return await asyncio.wait_for(self.streams.get(), PATIENCE)

    def nothing_reached_the_server(self) -> bool:
        """Whether no connection was made behind the relay."""
        return self.streams.empty() and self.connections.empty() and not self.relay.connections


@pytest.fixture(params=list(PinMode), ids=lambda mode: mode.name.lower())
def pin_mode(request: pytest.FixtureRequest) -> PinMode:
    """Both things that a kernel can be asked for: the newer calls can be left alone, not added."""
    mode: PinMode = request.param
    return mode


@pytest.fixture
def relay_limits() -> RelayLimits:
    """Override it to test a limit."""
    return RelayLimits()


@pytest.fixture
async def attestor() -> AsyncIterator[WorkloadAttestors]:
    """Override it for another one."""
    attestor = WorkloadAttestors()
    yield attestor
    attestor.close()


@pytest.fixture
async def relay_rig(
    short_directory: Path, pin_mode: PinMode, relay_limits: RelayLimits, attestor: WorkloadAttestors
) -> AsyncIterator[RelayRig]:
    """A relay that has started, once with each kind of kernel."""
    private = short_directory / "private"
    private.mkdir(mode=0o700)
    rig = RelayRig(
        relay=Relay(
            str(short_directory / "api.sock"), str(private / "s"), attestor, limits=relay_limits, mode=pin_mode
        ),
        path=short_directory / "api.sock",
        inner=private / "s",
        attestor=attestor,
    )
    rig.relay.on_denied = rig.denials.put_nowait
    rig.relay.on_connection = rig.connections.put_nowait
    server = await asyncio.start_unix_server(lambda *stream: rig.streams.put_nowait(stream), rig.inner)
    await rig.relay.start()
    yield rig
    await rig.relay.close()
    server.close()
    while not rig.streams.empty():
        rig.streams.get_nowait()[1].close()
    await server.wait_closed()


def open_descriptors() -> set[tuple[str, str]]:
    """The descriptors that this process has open, and what they are of; without those that only the collector holds.

    What another test has left to a thread of its own may be closed at any time: what counts is what is new.
    """
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
