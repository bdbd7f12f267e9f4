"""The front as a process of its own, between callers and a signer that dies or hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.address import Address, parse_address
from inborn._internal.enrollment.join_token import parse_join_token
from inborn._internal.host.paths import admin_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.rpc.services import AioStub
from inborn._internal.settings.document import encode
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import read_certificate
from inborn._internal.wire import admin_methods
from inborn.errors import UnavailableError
from inborn_ca.settings import FrontSettings, FrontStart
from inborn_proto import admin_pb2, ca_pb2
from tests.rigs.front_rig import BOOTSTRAP, enroll_request, make_csr
from tests.rigs.settings_rig import started_with
from tests.rigs.up_rig import Running, started, wait_until


def bootstrap(running: Running) -> grpc.aio.Channel:
    address = parse_address(running.status().bootstrap_address)
    with AdminClient(admin_socket(running.data_dir)) as client:
        bundle = client.call(admin_methods.GET_BUNDLE, admin_pb2.GetBundleRequest())
    pem = ssl.get_server_certificate((address.host, address.port))
    front = read_certificate(x509.load_pem_x509_certificate(pem.encode())).spiffe_id
    roots = X509Bundle.parse(TrustDomain(bundle.trust_domain), list(bundle.roots))
    return grpc.aio.secure_channel(
        str(address),
        grpc.ssl_channel_credentials(roots.pem()),
        options=[("grpc.ssl_target_name_override", front.alias), ("grpc.use_local_subchannel_pool", 1)],
    )


def enrollment(running: Running) -> ca_pb2.EnrollRequest:
    with AdminClient(admin_socket(running.data_dir)) as client:
        answer = client.call(admin_methods.CREATE_TOKEN, admin_pb2.CreateTokenRequest())
    return enroll_request(parse_join_token(answer.token), make_csr(ec.generate_private_key(ec.SECP256R1())))


async def test_call_that_waits_for_a_signer_that_dies_is_told_so(tmp_path: Path) -> None:
    with started(tmp_path / "data", "--listen", "127.0.0.1", verb=("ca", "run")) as running:
        await asyncio.to_thread(running.wait_for, "the CA is up")
        request = enrollment(running)
        async with bootstrap(running) as channel:
            stub = AioStub(channel, BOOTSTRAP)
            await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=10)
            pid = running.children()["signer"]
            os.kill(pid, signal.SIGSTOP)
            call = asyncio.ensure_future(stub.unary("Enroll", request, ca_pb2.EnrollResponse, timeout=30))
            # The front answers for itself while its signer hangs.
            await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=10)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(UnavailableError, match="the signer has closed the connection"):
                await call


async def test_call_that_is_under_way_when_the_ca_is_told_to_end_is_answered(tmp_path: Path) -> None:
    with started(tmp_path / "data", "--listen", "127.0.0.1", verb=("ca", "run")) as running:
        await asyncio.to_thread(running.wait_for, "the CA is up")
        request = enrollment(running)
        async with bootstrap(running) as channel:
            stub = AioStub(channel, BOOTSTRAP)
            await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=10)
            pid = running.children()["signer"]
            os.kill(pid, signal.SIGSTOP)
            call = asyncio.ensure_future(stub.unary("Enroll", request, ca_pb2.EnrollResponse, timeout=30))
            await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=10)
            running.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(running.wait_for, "supervisor.stopping")
            os.kill(pid, signal.SIGCONT)
            assert (await call).spiffe_id
        assert await asyncio.to_thread(running.end) == 0


SETTINGS = FrontSettings(bootstrap=Address("127.0.0.1", 1), api=Address("127.0.0.1", 2))


def front_alone(fd: int) -> subprocess.Popen[bytes]:
    document = FrontStart(settings=SETTINGS, signer_fd=fd)
    return started_with("inborn_ca.front", document, pass_fds=[fd], stderr=subprocess.PIPE)


def test_front_ends_when_its_signer_is_gone_before_it_began() -> None:
    ours, theirs = socket.socketpair()
    process = front_alone(theirs.fileno())
    theirs.close()
    ours.close()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"signer.gone" in stderr


def test_front_ends_at_sigterm_while_its_signer_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    process = front_alone(theirs.fileno())
    theirs.close()
    assert ours.recv(4)  # it has asked for the domain: it runs, and its handlers stand
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    ours.close()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("bootstrap", {"host": "no nsense", "port": 1}, "not a host name or address"),
        ("metrics", {"host": "127.0.0.1", "port": 70000}, "port is not from 0 to 65535"),
        ("api", "127.0.0.1:2", "settings.settings.api is not an object"),
        ("advertise", "a b", "not a host name or address"),
    ],
)
def test_front_refuses_what_is_no_address(field: str, value: object, rule: str) -> None:
    document = json.loads(encode(FrontStart(settings=SETTINGS, signer_fd=3)))
    document["settings"][field] = value
    process = started_with("inborn_ca.front", json.dumps(document).encode(), stderr=subprocess.PIPE)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert stderr.startswith(b"error: settings")
    assert rule.encode() in stderr


def test_front_refuses_a_descriptor_that_is_no_socket(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        process = front_alone(file.fileno())
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"is no socket" in stderr


def test_children_of_a_front_are_none() -> None:
    """Nothing is forked after gRPC has begun."""
    ours, theirs = socket.socketpair()
    process = front_alone(theirs.fileno())
    theirs.close()
    ours.recv(4)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.kill()
    process.communicate()
    wait_until(lambda: process.poll() is not None, "it has ended")
    assert children == ""
    ours.close()
