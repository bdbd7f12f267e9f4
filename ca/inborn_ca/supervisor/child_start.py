"""What a process of the CA does at its beginning: sockets it was given, its limits, and the word that it is ready."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from inborn.errors import RequestError

__all__ = ["on_termination", "raise_file_limit", "report_ready", "run_loop", "socket_from_fd"]

WANTED_FILES = 65_536  # one for each connection, and what the process has besides


def socket_from_fd(fd: int) -> socket.socket:
    """The stream socket that whoever started us has left open. Raises `RequestError` if it is none."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as e:
        raise RequestError(f"descriptor {fd} is no socket") from e
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise RequestError(f"descriptor {fd} is no UNIX stream socket")
    sock.set_inheritable(False)
    return sock


def report_ready(fd: int | None, facts: Mapping[str, str]) -> None:
    """Tell whoever waits at the other end of the pipe that we serve: one line of JSON, then its end."""
    if fd is None:
        return
    try:
        os.write(fd, json.dumps(dict(facts)).encode() + b"\n")
    except BrokenPipeError:
        pass  # nobody waits any more
    os.close(fd)


def raise_file_limit() -> None:
    """Take as many open files as we are allowed, up to what we can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def on_termination(stop: Callable[[], None]) -> None:
    """Call `stop` on the event loop at SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end, on uvloop where it is installed."""
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    try:
        import uvloop

        new_event_loop = uvloop.new_event_loop
    except ImportError:
        pass
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
