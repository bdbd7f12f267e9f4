"""The demo's server: answers whoever is one of its customers, over TCP and over a UNIX socket.

    python -m examples.demo.pay --socket S --unix PATH --customer ID ...

One request is a line, one answer is a line that says who asked. What a server needs of Inborn: a source, a context.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import ssl

from examples.demo.reports import ReportHandler, report, words
from inborn import X509Source, authorize_one_of, server_context
from inborn._internal.source.snapshot import Snapshot
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.verified_socket import VerifiedObject
from inborn.errors import InbornError

__all__ = ["main"]

_MAX_LINE = 1024  # bytes of a request: it is one number


class Server:
    """Answers requests, counts them, and says when a connection is taken from it."""

    def __init__(self) -> None:
        self.answered = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ssl_object = writer.get_extra_info("ssl_object")
        assert isinstance(ssl_object, VerifiedObject)  # noqa: S101 # what our context makes
        peer, loop = str(ssl_object.spiffe_id), asyncio.get_running_loop()

        def refuse(reason: InbornError) -> None:
            report("closed", peer=peer, reason=str(reason))
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(writer.transport.abort)

        ssl_object.close_with(refuse)
        try:
            while line := await reader.readline():
                writer.write(b"%b for %b\n" % (line.strip()[:_MAX_LINE], peer.encode()))
                await writer.drain()
                self.answered += 1
        except (OSError, ValueError):
            pass  # the peer has gone, or was refused: reported above
        finally:
            writer.close()


class IdentityReporter:
    """Says which identity this process has, or that it has none, whenever that changes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, snapshot: Snapshot) -> None:
        serial = snapshot.svids[0].facts.serial.hex() if snapshot.svids else ""
        if serial == self._last:
            return
        self._last = serial
        if serial:
            report("identity", id=str(snapshot.svids[0].spiffe_id), serial=serial)
        else:
            report("no identity", reason=snapshot.reason)


async def run(arguments: argparse.Namespace) -> None:
    with X509Source(arguments.socket, timeout=0) as source:
        report("started", pid=os.getpid(), uid=os.getuid(), executable=os.readlink("/proc/self/exe"))
        source.subscribe(IdentityReporter())
        context: ssl.SSLContext = server_context(
            source, authorize_one_of(*(parse_spiffe_id(customer) for customer in arguments.customer))
        )
        server = Server()
        over_tcp = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context, limit=_MAX_LINE)
        over_unix = await asyncio.start_unix_server(server.serve, arguments.unix, ssl=context, limit=_MAX_LINE)
        os.chmod(arguments.unix, 0o666)  # noqa: S103 # TLS says who may speak
        report("listening", port=over_tcp.sockets[0].getsockname()[1])
        await words(lambda _: report("counted", answered=server.answered))
        over_tcp.close()
        over_unix.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--unix", required=True)
    parser.add_argument("--customer", action="append", required=True)
    for logger in ("inborn._internal.tls.verified_socket", "inborn._internal.tls.connections"):
        logging.getLogger(logger).addHandler(ReportHandler())
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
