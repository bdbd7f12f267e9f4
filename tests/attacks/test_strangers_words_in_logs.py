"""What strangers send must not write lines of its own into the logs: gRPC's core prints some of it as it came."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from inborn._internal.address import parse_address
from inborn._internal.host.paths import workload_socket
from inborn._internal.tls.context import unsafe_unverified_context
from tests.rigs.up_rig import Running, started

FORGED = b"\n2026-01-01 00:00:00,000 INFO inborn.ca.signer forged.line\x1b[31m"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1
PATIENCE = 10.0  # seconds


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", 0) + payload


def say_goodbye(sock: socket.socket) -> None:
    """An HTTP/2 connection that ends with an error and a text; returns when the other side has read all of it."""
    goodbye = frame(GOAWAY, struct.pack(">II", 0, 2) + FORGED)
    sock.sendall(PREFACE + frame(SETTINGS) + goodbye + frame(PING, b"all read"))
    while True:
        head = read(sock, 9)
        payload = read(sock, int.from_bytes(head[:3], "big"))
        kind, is_ack = head[3], head[4] & ACK
        if kind == PING and is_ack and payload == b"all read":
            return
        if kind in (SETTINGS, PING) and not is_ack:
            sock.sendall(frame(kind, payload if kind == PING else b"", ACK))


def read(sock: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        more = sock.recv(size - len(octets))
        assert more, "hung up"
        octets += more
    return octets


def log_of(running: Running) -> str:
    running.process.terminate()
    running.process.wait(30)
    running.reader.join(5)
    return running.stderr


def test_text_of_a_stranger_does_not_reach_the_log_of_the_front(tmp_path: Path) -> None:
    context = unsafe_unverified_context(["h2"])
    with started(tmp_path / "data", "--listen", "127.0.0.1", verb=("ca", "run")) as running:
        running.wait_for("the CA is up")
        address = parse_address(running.status().bootstrap_address)
        with context.wrap_socket(socket.create_connection((address.host, address.port), PATIENCE)) as sock:
            say_goodbye(sock)
        log = log_of(running)
    assert "forged.line" not in log
    assert "\x1b" not in log


def test_text_of_a_process_does_not_reach_the_log_of_the_agent(tmp_path: Path) -> None:
    with started(tmp_path / "data") as running:
        running.wait_for("inborn is up")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(workload_socket(tmp_path / "data")))
            say_goodbye(sock)
        log = log_of(running)
    assert "forged.line" not in log
    assert "\x1b" not in log
