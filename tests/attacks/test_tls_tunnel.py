"""Attacks on the tunnel under gRPC's channel."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor
from inborn._internal.tls.connections import live_peers
from inborn._internal.tls.context import client_context
from inborn._internal.tls.tunnel import Tunnel
from inborn._internal.verification.verify import authorize_any
from inborn.testing import MemoryAuthority

SERVER = "spiffe://example.org/server"
CLIENT = "spiffe://example.org/client"
WAIT = 5.0

STRANGER = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    print(repr(s.recv(100)))
except (BrokenPipeError, ConnectionResetError):
    print(repr(b""))
"""


@pytest.fixture
def address(authority: MemoryAuthority) -> Iterator[str]:
    source = authority.source(SERVER)
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[grpc_server_interceptor(source, authorize_any())])
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"in")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", {"m": handler}),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_stranger_on_the_inner_socket_is_refused(authority: MemoryAuthority, address: str) -> None:
    """Another process of the same user may enter the directory; the kernel says that it is not us."""
    context = client_context(authority.source(CLIENT), authorize_any())
    context.set_alpn_protocols(["h2"])
    tunnel = Tunnel(address, context)
    try:
        path = Path(tunnel.address.removeprefix("unix:"))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        said = subprocess.run(
            [sys.executable, "-c", STRANGER, str(path)], capture_output=True, text=True, timeout=30, check=True
        )
        assert said.stdout.strip() == "b''"
        assert tunnel.peer is None  # nobody was connected on its behalf
        with grpc.insecure_channel(tunnel.address) as channel:
            assert channel.unary_unary("/t/m")(b"", timeout=WAIT) == b"in"
    finally:
        tunnel.close()
    assert not path.parent.exists()


def test_stranger_cannot_end_a_connection_that_is_open(
    authority: MemoryAuthority, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        _stranger_dials_while_it_is_open(authority, address, Path(directory))


def _stranger_dials_while_it_is_open(authority: MemoryAuthority, address: str, directory: Path) -> None:
    before = set(live_peers())
    with grpc_channel(authority.source(CLIENT), address, authorize_any()) as channel:
        call = channel.unary_unary("/t/m")
        assert call(b"", timeout=WAIT) == b"in"
        (path,), (server,) = directory.glob("*/t"), set(live_peers()) - before
        subprocess.run([sys.executable, "-c", STRANGER, str(path)], capture_output=True, timeout=30, check=True)
        assert call(b"", timeout=WAIT) == b"in"
        assert server in live_peers()  # the same connection as before


def test_tunnel_for_enrollment_carries_one_connection_alone(authority: MemoryAuthority, address: str) -> None:
    context = client_context(authority.source(CLIENT), authorize_any())
    tunnel = Tunnel(address, context, only_one=True)
    try:
        path = tunnel.address.removeprefix("unix:")
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
        with socket.socket(socket.AF_UNIX) as second:
            second.settimeout(WAIT)
            second.connect(path)
            assert second.recv(1) == b""
    finally:
        tunnel.close()
