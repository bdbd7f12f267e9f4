"""The relay between real processes: raw HTTP/2 callers in every order, and unmodified gRPC clients."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import uvloop

from inborn._internal.process.pinning import PinMode, PinnedProcess
from inborn.errors import RequestError, UnavailableError
from inborn_agent.attest import Evidence, WorkloadAttestors
from inborn_agent.relay.relay import Relay, UnknownConnection
from inborn_agent.relay.relay_limits import RelayLimits
from inborn_agent.relay.relayed_connection import RelayedConnection
from tests.inborn_agent.relay.fixtures_relay import PATIENCE, RelayRig, caller, line_of, open_descriptors, tell

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"

# What a caller may do between connecting and its first request, all of it right.
ORDERS = {
    "settings_ack_last": """
s.sendall(PREFACE + frame(SETTINGS))
s.sendall(read_question(s) + frame(SETTINGS, ACK))
""",
    "settings_ack_first": """
s.sendall(PREFACE + frame(SETTINGS))
s.sendall(frame(SETTINGS, ACK) + read_question(s))
""",
    # Says nothing at all before the server has.
    "waits_for_settings": """
answer = read_question(s)
for part in (PREFACE + frame(SETTINGS), frame(SETTINGS, ACK), answer):
    s.sendall(part)
""",
    "byte_by_byte": """
a = read_question(s)
for byte in PREFACE + frame(SETTINGS) + a + frame(SETTINGS, ACK):
    s.sendall(bytes((byte,)))
""",
}


@pytest.mark.parametrize("order", ORDERS)
async def test_every_right_order_of_answers_is_let_through(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]], order: str
) -> None:
    code = (
        "s = connect()\n"
        + ORDERS[order]
        + "\ns.sendall(b'and on'); say(s.recv(99).decode()); wait_for_end(s); say('end')"
    )
    callers.append(caller(code, relay_rig.path))
    connection = await relay_rig.connection()
    reader, writer = await relay_rig.stream()
    assert await reader.readexactly(len(PREFACE + SETTINGS) + 6) == PREFACE + SETTINGS + b"and on"
    writer.write(b"answer")
    assert await line_of(callers[0]) == "answer"
    assert connection.is_alive()
    assert relay_rig.relay.connections == (connection,)
    assert relay_rig.relay.connection(connection.name) is connection
    writer.close()
    assert await line_of(callers[0]) == "end"
    await asyncio.wait_for(connection.closed.wait(), PATIENCE)
    assert relay_rig.relay.connections == ()


async def test_a_request_sent_before_the_answers_arrives_in_its_order(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = """
s = connect()
headers, data = frame(HEADERS, 4, b"h", 1), frame(0, 1, b"d", 1)
s.sendall(PREFACE + frame(SETTINGS) + headers)
a = read_question(s)
s.sendall(a + data + frame(SETTINGS, ACK) + data[:3])
wait_for_end(s)
"""
    callers.append(caller(code, relay_rig.path))
    reader, writer = await relay_rig.stream()
    expected = PREFACE + SETTINGS + b"\0\0\1\1\4\0\0\0\1h" + b"\0\0\1\0\1\0\0\0\1d" + b"\0\0\1"
    assert await reader.readexactly(len(expected)) == expected
    writer.close()


async def test_evidence_is_that_of_the_caller(relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
    callers.append(caller("s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
    connection = await relay_rig.connection()
    selectors = set(map(str, connection.evidence.selectors))
    assert {f"unix:uid:{os.geteuid()}", f"unix:gid:{os.getegid()}"} <= selectors
    assert f"unix:path:{os.path.realpath(sys.executable)}" in selectors
    assert connection.process.pid == callers[0].pid
    assert connection.evidence.hints == ()
    assert await connection.attest_again() == connection.evidence


async def test_a_connection_ends_when_the_server_ends_it_and_when_the_caller_does(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    callers.append(caller("s = connect(); prove(s); wait_for_line(); s.close(); wait_for_line()", relay_rig.path))
    connection = await relay_rig.connection()
    reader, writer = await relay_rig.stream()
    tell(callers[0])
    assert await reader.read() == PREFACE + SETTINGS
    writer.close()
    await asyncio.wait_for(connection.closed.wait(), PATIENCE)
    assert not connection.is_alive()


async def test_an_answer_under_way_survives_the_callers_end_of_stream(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = "s = connect(); prove(s); s.shutdown(socket.SHUT_WR); say(s.recv(99).decode()); wait_for_line()"
    callers.append(caller(code, relay_rig.path))
    reader, writer = await relay_rig.stream()
    await reader.read()
    writer.write(b"late answer")
    writer.close()
    assert await line_of(callers[0]) == "late answer"


async def test_a_caller_that_does_not_read_holds_up_the_server_and_takes_no_memory(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    callers.append(caller("s = connect(); prove(s); wait_for_line(); wait_for_end(s)", relay_rig.path))
    await relay_rig.connection()
    _, writer = await relay_rig.stream()
    sock = writer.get_extra_info("socket")
    loop = asyncio.get_running_loop()
    chunk, sent = bytes(65536), 0
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    descriptor = os.dup(sock.fileno())
    with socket.socket(fileno=descriptor) as raw:
        raw.setblocking(False)
        try:
            while sent < 64 << 20:
                await asyncio.wait_for(loop.sock_sendall(raw, chunk), 0.5)
                sent += len(chunk)
        except TimeoutError:
            pass
    # Two sockets' buffers and one chunk between them.
    assert sent < 4 << 20
    writer.close()


async def test_a_server_that_does_not_read_holds_up_the_caller(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = """
s = connect(); prove(s)
s.settimeout(0.5)
sent = 0
try:
    while sent < 64 << 20:
        sent += s.send(bytes(65536))
except TimeoutError:
    pass
say(str(sent)); wait_for_line()
"""
    callers.append(caller(code, relay_rig.path))
    _, writer = await relay_rig.stream()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    assert int(await line_of(callers[0])) < 4 << 20
    writer.close()


async def test_closing_the_relay_hangs_up_on_everybody_and_leaves_nothing(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    before = open_descriptors()
    for _ in range(3):
        callers.append(caller("s = connect(); prove(s); wait_for_end(s); say('end')", relay_rig.path))
        await relay_rig.connection()
    callers.append(caller("s = connect(); say('silent'); wait_for_end(s); say('end')", relay_rig.path))
    assert await line_of(callers[3]) == "silent"
    await relay_rig.relay.close()
    for process in callers:
        assert await line_of(process) == "end"
    while not relay_rig.streams.empty():
        _, writer = relay_rig.streams.get_nowait()
        writer.close()
        await writer.wait_closed()
    assert not relay_rig.path.exists()
    assert os.listdir(relay_rig.inner.parent) == ["s"]
    # Two pipes of each caller; the listening socket is gone.
    assert len(open_descriptors() - before) == 2 * len(callers)


async def test_a_call_that_did_not_come_through_the_relay_is_nobodys(relay_rig: RelayRig) -> None:
    for peer in ("unix:", "", f"unix:{relay_rig.inner.parent}/c1", "ipv4:127.0.0.1:1"):
        with pytest.raises(UnknownConnection):
            relay_rig.relay.connection(peer)


async def test_a_server_that_is_away_is_told_apart_from_a_denied_caller(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    relay_rig.inner.unlink()
    callers.append(caller("s = connect(); prove(s); wait_for_end(s); say('end')", relay_rig.path))
    assert (await relay_rig.denial()).kind == "UnavailableError"
    assert await line_of(callers[0]) == "end"


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
async def test_a_private_directory_that_others_may_enter_is_refused(short_directory: Path, mode: int) -> None:
    private = short_directory / "private"
    private.mkdir()
    private.chmod(mode)
    attestor = WorkloadAttestors()
    with pytest.raises(RequestError, match="is open to others"):
        await Relay(str(short_directory / "s"), str(private / "s"), attestor).start()
    with pytest.raises(UnavailableError, match="No such file"):
        await Relay(str(short_directory / "s"), str(private / "none" / "s"), attestor).start()
    attestor.close()


class TestSilence:
    @pytest.fixture
    def relay_limits(self) -> RelayLimits:
        return RelayLimits(proof=timedelta(milliseconds=200))

    @pytest.mark.parametrize(
        "code",
        [
            "s = connect()",
            "s = connect(); s.sendall(PREFACE[:5])",
            "s = connect(); s.sendall(PREFACE + frame(SETTINGS))",
            "s = connect(); s.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))",
            "s = connect(); s.sendall(PREFACE + frame(SETTINGS)); s.sendall(read_question(s))",
        ],
        ids=["nothing", "half_preface", "preface", "settings_ack", "ping_ack"],
    )
    async def test_a_caller_that_does_not_answer_is_hung_up_on(
        self, relay_rig: RelayRig, callers: list[subprocess.Popen[str]], code: str
    ) -> None:
        callers.append(caller(code + "; wait_for_end(s); say('end')", relay_rig.path))
        denial = await relay_rig.denial()
        assert (denial.kind, denial.pid, denial.uid) == ("TooSlow", callers[0].pid, os.geteuid())
        assert await line_of(callers[0]) == "end"
        assert relay_rig.nothing_reached_the_server()


class SlowAttestor(WorkloadAttestors):
    """Attests when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_allowed = asyncio.Event()

    async def attest(self, process: PinnedProcess) -> Evidence:
        await self.is_allowed.wait()
        return await super().attest(process)


class TestSlowAttestation:
    @pytest.fixture
    def relay_limits(self) -> RelayLimits:
        return RelayLimits(attestation=timedelta(milliseconds=200))

    @pytest.fixture
    async def attestor(self) -> AsyncIterator[SlowAttestor]:
        attestor = SlowAttestor()
        yield attestor
        attestor.close()

    async def test_an_attestation_that_does_not_end_is_given_up(
        self, relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
    ) -> None:
        callers.append(caller("s = connect(); prove(s); wait_for_end(s); say('end')", relay_rig.path))
        denial = await relay_rig.denial()
        assert (denial.kind, denial.message) == ("TooSlow", "it took longer than 0.2 s to be attested")
        assert await line_of(callers[0]) == "end"
        assert relay_rig.nothing_reached_the_server()


GRPC_SYNC = """
import grpc, sys
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(channel.unary_unary("/t.T/Who")(b"x", timeout=30).decode())
    print(len(b"".join(channel.unary_stream("/t.T/Many")(b"x", timeout=30))))
"""
GRPC_AIO = """
import asyncio, grpc, sys
async def main():
    async with grpc.aio.insecure_channel("unix:" + sys.argv[1]) as channel:
        print((await channel.unary_unary("/t.T/Who")(b"x", timeout=30)).decode())
        print(len(b"".join([part async for part in channel.unary_stream("/t.T/Many")(b"x", timeout=30)])))
asyncio.run(main())
"""


async def serve_grpc_behind_a_relay(directory: Path, mode: PinMode, program: str, odd_name: str) -> list[str]:
    """Run an unmodified gRPC client in a process of its own against a gRPC server behind a relay."""
    private = directory / odd_name
    private.mkdir(mode=0o700)
    attestor = WorkloadAttestors()
    relay = Relay(str(directory / "api.sock"), str(private / "s"), attestor, mode=mode)
    seen: list[RelayedConnection] = []

    async def who(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        seen.append(relay.connection(context.peer()))
        return " ".join(sorted(map(str, seen[-1].evidence.selectors))).encode()

    async def many(_request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(65536)

    server = grpc.aio.server()
    handlers = {
        "Who": grpc.unary_unary_rpc_method_handler(who),
        "Many": grpc.unary_stream_rpc_method_handler(many),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    server.add_insecure_port(f"unix:{private}/s")
    await server.start()
    await relay.start()
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(directory / "api.sock"), stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(client.communicate(), 60)
    assert client.returncode == 0
    assert [connection.process.pid for connection in seen] == [client.pid]
    await relay.close()
    await server.stop(0)
    attestor.close()
    return out.decode().splitlines()


@pytest.mark.parametrize("program", [GRPC_SYNC, GRPC_AIO], ids=["sync", "aio"])
async def test_unmodified_grpc_clients_are_known_by_their_peer_name(
    short_directory: Path, pin_mode: PinMode, program: str
) -> None:
    lines = await serve_grpc_behind_a_relay(short_directory, pin_mode, program, "with a space, 100% odd")
    assert f"unix:uid:{os.geteuid()}" in lines[0].split()
    assert f"unix:path:{os.path.realpath(sys.executable)}" in lines[0].split()
    assert int(lines[1]) == 64 * 65536


def test_the_relay_runs_on_uvloop_as_well(short_directory: Path, pin_mode: PinMode) -> None:
    lines = uvloop.run(serve_grpc_behind_a_relay(short_directory, pin_mode, GRPC_SYNC, "private"))
    assert int(lines[1]) == 64 * 65536


async def test_a_call_past_the_relay_is_refused(short_directory: Path) -> None:
    private = short_directory / "private"
    private.mkdir(mode=0o700)
    attestor = WorkloadAttestors()
    relay = Relay(str(short_directory / "api.sock"), str(private / "s"), attestor)
    refused: list[str] = []

    async def who(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            relay.connection(context.peer())
        except UnknownConnection as error:
            refused.append(error.kind)
        return b""

    server = grpc.aio.server()
    handler = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handler),))
    server.add_insecure_port(f"unix:{private}/s")
    await server.start()
    await relay.start()
    async with grpc.aio.insecure_channel(f"unix:{private}/s") as channel:
        await channel.unary_unary("/t.T/Who")(b"", timeout=30)
    assert refused == ["UnknownConnection"]
    await relay.close()
    await server.stop(0)
    attestor.close()


async def test_a_stopped_caller_is_waited_for_and_goes_on(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    callers.append(
        caller("s = connect(); say('connected'); wait_for_line(); prove(s); wait_for_end(s)", relay_rig.path)
    )
    assert await line_of(callers[0]) == "connected"
    callers[0].send_signal(signal.SIGSTOP)
    tell(callers[0])
    callers[0].send_signal(signal.SIGCONT)
    assert (await relay_rig.connection()).is_alive()


async def test_a_relay_without_descriptors_waits_and_goes_on(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    callers.append(caller("wait_for_line(); s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
    has_failed = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("accept failed: EMFILE"):
                has_failed.set()

    watch = Watch()
    logging.getLogger("inborn_agent.relay.relay").addHandler(watch)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # what is open stays open
    try:
        tell(callers[0])
        await asyncio.wait_for(has_failed.wait(), PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        logging.getLogger("inborn_agent.relay.relay").removeHandler(watch)
    assert (await relay_rig.connection()).is_alive()
