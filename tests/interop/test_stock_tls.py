"""openssl, curl and gRPC's own TLS against our servers: they know DNS names and CRLs, and nothing of SPIFFE."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor, peer_identity
from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.tls.context import server_context
from inborn._internal.verification.verify import authorize_id
from tests.interop.rig import PATIENCE, Files, System, alias, run
from tests.rigs.fixtures_up import Only, spiffe_id, wait_for_paths

SERVER, CLIENT, OTHER = "/stock/server", "/stock/client", "/stock/other"
ONLY_CLIENT = authorize_id(parse_spiffe_id(spiffe_id(CLIENT)))


@pytest.fixture
def source(system: System) -> Iterator[X509Source]:
    for path in (SERVER, CLIENT, OTHER):
        system.entry(path, hint=path.rpartition("/")[2])
    with system.machine.source() as source:
        wait_for_paths(source, SERVER, CLIENT, OTHER)
        yield source


@pytest.fixture
def client(system: System, source: X509Source, tmp_path: Path) -> Files:
    return system.write(tmp_path / "client", "client")


class Greeter(BaseHTTPRequestHandler):
    """Says who the caller is."""

    def do_GET(self) -> None:
        body = f"hello {self.connection.spiffe_id}\n".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def https_server(source: IdentitySource) -> Iterator[int]:
    """The standard library's HTTP server over our context."""
    context = server_context(source, ONLY_CLIENT)

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as connection:
                super().finish_request(connection, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that was refused."""

    with Server(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


# -- openssl -----------------------------------------------------------------------------------------------------------


def s_client(port: int, files: Files, name: str, *further: str) -> Any:
    return run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", files.bundle, "-quiet"),
        *("-verify_return_error", "-verify_hostname", name, *further),
        says="GET / HTTP/1.0\r\n\r\n",
    )


def certificate(files: Files) -> list[str]:
    return ["-cert", files.svid, "-cert_chain", files.svid, "-key", files.key]


@pytest.mark.needs("openssl")
def test_openssl_talks_to_our_server_and_pins_it_by_its_alias(source: X509Source, client: Files) -> None:
    with https_server(Only(source, SERVER)) as port:
        answer = s_client(port, client, alias(SERVER), *certificate(client))
        assert f"hello {spiffe_id(CLIENT)}" in answer.stdout, answer.stderr
        wrong = s_client(port, client, alias(OTHER), *certificate(client))
    assert "hello" not in wrong.stdout
    assert "hostname mismatch" in wrong.stderr.lower()


@pytest.mark.needs("openssl")
def test_openssl_without_a_certificate_or_with_another_one_gets_nothing(
    system: System, source: X509Source, client: Files, tmp_path: Path
) -> None:
    other = system.write(tmp_path / "other", "other")
    with https_server(Only(source, SERVER)) as port:
        for presented in ([], certificate(other)):
            assert "hello" not in s_client(port, client, alias(SERVER), *presented).stdout


def verify(files: Files, trust: Files, *further: str) -> Any:
    """`openssl verify` with every check that it has for this."""
    return run(
        *("openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", trust.bundle, "-CRLfile", trust.crl),
        *("-untrusted", files.svid, *further, files.svid),
    )


@pytest.mark.needs("openssl")
def test_openssl_finds_our_chain_strictly_valid_with_all_crls(client: Files) -> None:
    for purpose in ("sslclient", "sslserver"):
        done = verify(client, client, "-purpose", purpose, "-verify_hostname", alias(CLIENT))
        assert done.returncode == 0, done.stderr
    assert verify(client, client, "-verify_hostname", alias(OTHER)).returncode != 0


@pytest.mark.needs("openssl")
def test_openssl_refuses_what_was_revoked_and_nobody_else(
    system: System, source: X509Source, client: Files, tmp_path: Path
) -> None:
    system.revoke(CLIENT, source)
    fresh = system.write(tmp_path / "server", "server")
    refused = verify(client, fresh)
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stderr
    assert verify(fresh, fresh).returncode == 0


# -- curl --------------------------------------------------------------------------------------------------------------


def curl(port: int, name: str, trust: Files, files: Files | None, *further: str) -> Any:
    presented = [] if files is None else ["--cert", files.svid, "--key", files.key]
    return run(
        *("curl", "-sS", "--max-time", "20", "--cacert", trust.bundle, "--resolve", f"{name}:{port}:127.0.0.1"),
        *(*presented, *further, f"https://{name}:{port}/"),
    )


@pytest.mark.needs("curl")
def test_curl_talks_to_our_server_and_pins_it_by_its_alias(source: X509Source, client: Files) -> None:
    with https_server(Only(source, SERVER)) as port:
        answer = curl(port, alias(SERVER), client, client, "--crlfile", client.crl)
        assert answer.stdout == f"hello {spiffe_id(CLIENT)}\n", answer.stderr
        assert curl(port, alias(OTHER), client, client).returncode == 60  # the certificate is of somebody else
        assert curl(port, alias(SERVER), client, None).returncode != 0


@pytest.mark.needs("curl")
def test_curl_with_a_revoked_certificate_is_refused_and_one_with_our_crls_refuses_a_revoked_server(
    system: System, source: X509Source, client: Files, tmp_path: Path
) -> None:
    with https_server(Only(source, SERVER)) as port:
        assert curl(port, alias(SERVER), client, client).returncode == 0
        system.revoke(CLIENT, source)
        assert curl(port, alias(SERVER), client, client).returncode != 0
    with https_server(RevokedServer(source)) as port:
        system.revoke(SERVER, source)
        fresh = system.write(tmp_path / "other", "other")
        refused = curl(port, alias(SERVER), fresh, fresh, "--crlfile", fresh.crl)
    assert refused.returncode == 60
    assert "revoked" in refused.stderr


class RevokedServer:
    """A server that goes on with what it had, whatever it is told."""

    def __init__(self, source: X509Source) -> None:
        self._snapshot = Only(source, SERVER).snapshot()

    def snapshot(self) -> Any:
        return self._snapshot

    def subscribe(self, callback: Any) -> Any:
        return lambda: None


# -- gRPC --------------------------------------------------------------------------------------------------------------


class Who(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        def who(request: bytes, context: Any) -> bytes:
            return str(peer_identity(context).spiffe_id).encode()

        return grpc.unary_unary_rpc_method_handler(who)


@contextmanager
def grpc_server(source: IdentitySource) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[grpc_server_interceptor(source, ONLY_CLIENT)])
    server.add_generic_rpc_handlers((Who(),))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    yield port
    server.stop(0).wait()


def stock_call(port: int, name: str, files: Files) -> bytes:
    """gRPC's own client, which can be told a DNS name to expect and nothing else."""
    credentials = grpc.ssl_channel_credentials(
        *(Path(path).read_bytes() for path in (files.bundle, files.key, files.svid))
    )
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        return bytes(channel.unary_unary("/interop/Who")(b"", timeout=PATIENCE))


def test_stock_grpc_client_pins_our_server_by_its_alias(
    system: System, source: X509Source, client: Files, tmp_path: Path
) -> None:
    printed = system.inborn("svid", "alias", spiffe_id(SERVER)).stdout.strip()
    with grpc_server(Only(source, SERVER)) as port:
        assert stock_call(port, printed, client).decode() == spiffe_id(CLIENT)
        for name in (alias(OTHER), "localhost"):
            with pytest.raises(grpc.RpcError) as refused:
                stock_call(port, name, client)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "Hostname Verification Check failed" in refused.value.details()
        with pytest.raises(grpc.RpcError) as refused:
            stock_call(port, printed, system.write(tmp_path / "other", "other"))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        system.revoke(CLIENT, source)
        with pytest.raises(grpc.RpcError) as refused:
            stock_call(port, printed, client)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
