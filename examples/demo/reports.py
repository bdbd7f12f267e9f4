"""How the demo's programs and its story talk: JSON lines, and words on the programs' standard input.

`at` is CLOCK_MONOTONIC, the same clock for every process of a machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["ReportHandler", "report", "words"]

_lock = threading.Lock()


def report(event: str, *, at: float | None = None, **facts: object) -> None:
    """Say that something happened. From any thread."""
    line = json.dumps({"event": event, "at": time.monotonic() if at is None else at, **facts})
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class ReportHandler(logging.Handler):
    """Passes on what the library logs of refused peers, each text once: a server is told of a failed handshake by the
    log alone."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._passed:
            self._passed.add(text)
            report("log", text=text)


async def words(hear: Callable[[str], None]) -> None:
    """Pass on each line of standard input; returns at its end, which is when the demo has ended, however it did."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        hear(line.decode().strip())
