"""gRPC alone: a server that answers with as many bytes as an issue does, and does nothing else.

`python -m benchmarks.echo` is that server, with mutual TLS and on uvloop, as the front is. What it costs a call is what
no change of ours to the front can save.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization

from inborn_ca.supervisor.child_start import run_loop

if TYPE_CHECKING:
    from benchmarks.rig import LoadAgent

__all__ = ["CALLS", "CONNECT", "STREAMS", "Echo", "running"]

STREAMS = "  gRPC alone: an echo of as many bytes on open streams, mutual TLS"
CALLS = "  gRPC alone: an echo of as many bytes in calls, mutual TLS"
CONNECT = "  gRPC alone: a new mutual-TLS connection and one echo"
METHOD, STREAM = "/echo.Echo/Echo", "/echo.Echo/Stream"
REQUEST, ANSWER = b"q" * 620, b"a" * 1200  # bytes of a signed request for one certificate, and of its answer


@dataclass(slots=True)
class Echo:
    """The server, and connections to it."""

    pid: int
    address: str
    agent: LoadAgent
    channels: list[grpc.aio.Channel] = field(default_factory=list)
    streams: list[Any] = field(default_factory=list)

    async def connect(self, connections: int) -> None:
        self.channels = [self._channel() for _ in range(connections)]
        await asyncio.gather(*(channel.channel_ready() for channel in self.channels))
        self.streams = [channel.stream_stream(STREAM)() for channel in self.channels]

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()

    def streaming(self, each: int) -> Callable[[], Awaitable[int]]:
        async def one(stream: Any) -> None:
            for _ in range(each):
                await stream.write(REQUEST)
                assert len(await stream.read()) == len(ANSWER)

        async def work() -> int:
            await asyncio.gather(*(one(stream) for stream in self.streams))
            return len(self.streams) * each

        return work

    def calling(self, each: int) -> Callable[[], Awaitable[int]]:
        async def one(channel: grpc.aio.Channel) -> None:
            call: Any = channel.unary_unary(METHOD)
            for _ in range(each):
                assert len(await call(REQUEST)) == len(ANSWER)

        async def work() -> int:
            await asyncio.gather(*(one(channel) for channel in self.channels))
            return len(self.channels) * each

        return work

    def connecting(self, connections: int, at_once: int) -> Callable[[], Awaitable[int]]:
        async def one() -> None:
            async with self._channel() as channel:
                call: Any = channel.unary_unary(METHOD)
                assert len(await call(REQUEST)) == len(ANSWER)

        async def work() -> int:
            for _ in range(0, connections, at_once):
                await asyncio.gather(*(one() for _ in range(at_once)))
            return connections

        return work

    def _channel(self) -> grpc.aio.Channel:
        options = [
            ("grpc.ssl_target_name_override", self.agent.enrolled.svid.spiffe_id.alias),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(*_pems(self.agent)), options)


@contextmanager
def running(agent: LoadAgent) -> Iterator[Echo]:
    """A server with the agent's own certificate: it is only there to be spoken to."""
    with TemporaryDirectory(prefix="inborn-bench-") as directory:
        for name, octets in zip(("roots", "key", "chain"), _pems(agent), strict=True):
            Path(directory, name).write_bytes(octets)
        command = [sys.executable, "-m", "benchmarks.echo", directory]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Echo(pid=process.pid, address=f"127.0.0.1:{port}", agent=agent)
        finally:
            process.terminate()
            process.wait(10)


def _pems(agent: LoadAgent) -> tuple[bytes, bytes, bytes]:
    key = agent.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return agent.enrolled.bundle.pem(), key, agent.enrolled.svid.chain_pem()


async def _serve(directory: Path) -> int:
    roots, key, chain = ((directory / name).read_bytes() for name in ("roots", "key", "chain"))

    async def answer(request: bytes, context: Any) -> bytes:
        return ANSWER

    async def converse(_: Any, context: Any) -> None:
        while await context.read() is not grpc.aio.EOF:
            await context.write(ANSWER)

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(answer),
        "Stream": grpc.stream_stream_rpc_method_handler(converse),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    credentials = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
    print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
    await server.start()
    await server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(run_loop(_serve(Path(sys.argv[1]))))
