"""The demo's client: asks the server without a pause, over one open connection and over a new one each time.

    python -m examples.demo.shop --socket S --server ID

Words on standard input: `go tcp PORT` or `go unix PATH` begins, `count` reports, `copy` keeps a copy of the identity as
it is now and goes on asking with it, as a thief of it would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass

from examples.demo.pay import IdentityReporter
from examples.demo.reports import report, words
from inborn import X509Source, authorize_id, client_context
from inborn._internal.source.snapshot import IdentitySource, StaticSource
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn._internal.tls.verified_socket import VerifiedObject

__all__ = ["main"]

# Requests are sent this many seconds after the answer before; a new connection costs both sides some milliseconds.
_PAUSE = 0.01
_PAUSE_OF_NEW = 0.04
# An answer takes a millisecond. One that takes this long counts as a failure.
_TIMEOUT = 5.0


class NotAnswered(Exception):
    """The server ended the connection, or answered something else."""


class Line:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: float) -> None:
        self._reader, self._writer = reader, writer
        opened = time.time()
        # A connection ends with the certificates that it was opened with, so the next one is opened in good time.
        self._due = opened + (ends - opened) / 2
        self._asked = 0

    @classmethod
    async def open(cls, address: str, context: ssl.SSLContext, source: IdentitySource) -> Line:
        kind, _, place = address.partition(" ")
        before = source.snapshot()  # afterwards there may be a newer one than the handshake showed
        if kind == "tcp":
            reader, writer = await asyncio.open_connection("127.0.0.1", int(place), ssl=context, server_hostname="")
        else:
            reader, writer = await asyncio.open_unix_connection(place, ssl=context, server_hostname="")
        ssl_object = writer.get_extra_info("ssl_object")
        assert isinstance(ssl_object, VerifiedObject)  # noqa: S101 # what our context makes
        assert ssl_object.svid is not None  # noqa: S101 # verified in the handshake
        ends = [svid.facts.not_after for svid in before.svids[:1]] + [ssl_object.svid.not_after]
        return cls(reader, writer, min(ends).timestamp())

    @property
    def is_due(self) -> bool:
        return time.time() > self._due

    async def ask(self) -> None:
        """Raises `NotAnswered` and `OSError`."""
        self._asked += 1
        self._writer.write(b"%d\n" % self._asked)
        answer = await self._reader.readline()
        if not answer.startswith(b"%d for spiffe://" % self._asked):
            raise NotAnswered(f"answered {answer!r}" if answer else "the server ended the connection")

    def close(self) -> None:
        self._writer.close()


@dataclass(slots=True, kw_only=True)
class Count:
    """What came of the requests of one kind."""

    answered: int = 0
    failed: int = 0
    opened: int = 0
    last_answered: float = 0.0
    """When the last request that was answered began."""
    is_failing: bool = False


class Customer:
    """Everything that asks the server, and what came of it."""

    def __init__(self, source: IdentitySource, server: SpiffeId, tasks: asyncio.TaskGroup) -> None:
        self._source = source
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []
        self._server = server
        self._context = client_context(source, authorize_id(server))
        self._counts: dict[str, Count] = {}
        self._address = ""

    def hear(self, word: str) -> None:
        verb, _, rest = word.partition(" ")
        if verb == "go":
            self._address = rest
            self._begin(self._ask_over_one("open"))
            self._begin(self._ask_over_new("new", self._context, self._source))
        elif verb == "copy":
            copy = StaticSource(self._source.snapshot())
            report("copied", serial=copy.snapshot().svids[0].facts.serial.hex())
            self._begin(self._ask_over_new("copy", client_context(copy, authorize_id(self._server)), copy))
        elif verb == "count":
            report("counted", counts={kind: asdict(count) for kind, count in self._counts.items()})

    def stop(self) -> None:
        for task in self._running:
            task.cancel()

    def _begin(self, asking: Coroutine[object, object, None]) -> None:
        self._running.append(self._tasks.create_task(asking))

    async def _ask_over_one(self, kind: str) -> None:
        """Ask over one connection; the next one is open before the one before it is closed."""
        count, line = self._counts.setdefault(kind, Count()), None
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT):
                    if line is None or line.is_due:
                        fresh = await Line.open(self._address, self._context, self._source)
                        if line is not None:
                            line.close()
                        line, count.opened = fresh, count.opened + 1
                    await line.ask()
                self._answered(kind, count, began)
            except (OSError, NotAnswered) as error:
                self._failed(kind, count, error)
                if line is not None:
                    line.close()
                line = None
            await asyncio.sleep(_PAUSE)

    async def _ask_over_new(self, kind: str, context: ssl.SSLContext, source: IdentitySource) -> None:
        """Ask over a new connection each time."""
        count = self._counts.setdefault(kind, Count())
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT):
                    line = await Line.open(self._address, context, source)
                    count.opened += 1
                    try:
                        await line.ask()
                    finally:
                        line.close()
                self._answered(kind, count, began)
            except (OSError, NotAnswered) as error:
                self._failed(kind, count, error)
            await asyncio.sleep(_PAUSE_OF_NEW)

    def _answered(self, kind: str, count: Count, began: float) -> None:
        if count.is_failing or not count.answered:
            report("answered", kind=kind)
        count.answered += 1
        count.last_answered, count.is_failing = began, False

    def _failed(self, kind: str, count: Count, error: Exception) -> None:
        count.failed += 1
        if not count.is_failing:
            report("failed", kind=kind, reason=str(error) or type(error).__name__)
        count.is_failing = True


async def run(arguments: argparse.Namespace) -> None:
    with X509Source(arguments.socket, timeout=0) as source:
        report("started", pid=os.getpid(), uid=os.getuid(), executable=os.readlink("/proc/self/exe"))
        source.subscribe(IdentityReporter())
        async with asyncio.TaskGroup() as tasks:
            customer = Customer(source, parse_spiffe_id(arguments.server), tasks)
            await words(customer.hear)
            customer.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--server", required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
