"""nginx, which reads files: `inborn exec` starts it, keeps them fresh and tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.rig import PATIENCE, Files, System, alias, free_port, inborn_command, outlive, run
from tests.rigs.fixtures_up import Only, wait_for_paths
from tests.rigs.up_rig import wait_until

pytestmark = pytest.mark.needs("nginx", "curl")

SERVER, CLIENT, BYSTANDER = "/nginx/server", "/nginx/client", "/nginx/bystander"

CONFIGURATION = """
daemon off;
pid {root}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {files.svid};
        ssl_certificate_key {files.key};
        ssl_client_certificate {files.bundle};
        ssl_crl {files.crl};
        ssl_verify_client on;
        ssl_verify_depth 2;
        return 200 "$ssl_client_verify $ssl_client_serial\\n";
    }}
}}
"""


@contextmanager
def nginx(system: System, root: Path) -> Iterator[int]:
    """nginx under `inborn exec`."""
    port = free_port()
    configuration = root / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(root=root, port=port, files=Files(root / "tls")), encoding="ascii")
    command = [*inborn_command(), "exec", "--hint", "server", "--write", root / "tls", "--renew-signal", "HUP", "--"]
    with system.program([*command, "nginx", "-e", "stderr", "-p", root, "-c", configuration]) as program:
        try:
            wait_until(lambda: ask(port, None, None) != "" or program.process.poll() is not None, "nginx", PATIENCE)
            assert program.process.poll() is None, "".join(program.stderr)
            yield port
        finally:
            program.process.terminate()
            program.process.wait(PATIENCE)


def ask(port: int, trust: Files | None, files: Files | None) -> str:
    """What nginx answers; empty: no connection that could be trusted."""
    trusted = ["--insecure"] if trust is None else ["--cacert", trust.bundle, "--crlfile", trust.crl]
    presented = [] if files is None else ["--cert", files.svid, "--key", files.key]
    name = alias(SERVER)
    resolve = f"{name}:{port}:127.0.0.1"
    return run("curl", "-sS", "--resolve", resolve, *trusted, *presented, f"https://{name}:{port}/").stdout


def test_nginx_lets_callers_in_across_rotations_and_keeps_a_revoked_one_out(system: System, tmp_path: Path) -> None:
    system.entry(SERVER, hint="server", ttl_seconds=3)
    system.entry(CLIENT, hint="client")
    system.entry(BYSTANDER, hint="bystander")
    with system.machine.source() as source:
        wait_for_paths(source, SERVER, CLIENT, BYSTANDER)
        client = system.write(tmp_path / "client", "client")
        bystander = system.write(tmp_path / "bystander", "bystander")
        with nginx(system, tmp_path) as port:
            assert "400 No required SSL certificate was sent" in ask(port, client, None)
            assert ask(port, client, client).startswith("SUCCESS ")

            outlive(Only(source, SERVER))
            wait_until(lambda: ask(port, client, client).startswith("SUCCESS "), "a fresh certificate", PATIENCE)

            system.revoke(CLIENT, source)
            wait_until(lambda: "400 The SSL certificate error" in ask(port, client, client), "the refusal", PATIENCE)
            assert ask(port, client, bystander).startswith("SUCCESS ")
