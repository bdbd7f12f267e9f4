"""svid fetch, svid watch and exec as processes of their own, against a double of the agent on a real socket."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from inborn._internal.rpc.services import service_handler
from inborn._internal.spiffe.x509_svid import X509Svid, read_certificate
from inborn.testing import MemoryAuthority
from inborn_proto import agent_pb2
from tests.rigs.open_guard import refuse_nobody

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

ROOT = Path(__file__).resolve().parents[3]
WEB = "spiffe://example.org/web"
PATIENCE = 30  # seconds: long enough for a busy machine


class FakeAgent:
    """Tells every library the same; `issue` and `withdraw` change it."""

    def __init__(self, socket: Path) -> None:
        self.authority = MemoryAuthority("example.org")
        self.endpoint = f"unix://{socket}"
        self._state = agent_pb2.Identities(trust_domain="example.org", reason="no entry matches")
        self._version = 0
        self._changed = threading.Condition()
        self._is_over = False
        self._server = grpc.server(ThreadPoolExecutor(8))
        local = agent_pb2.DESCRIPTOR.services_by_name["Local"]
        self._server.add_generic_rpc_handlers([service_handler(local, self, refuse_nobody)])
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def issue(self, path: str = "/web", *, hints: tuple[str, ...] = ("",), crls: int = 1) -> X509Svid:
        """One identity for each hint; the first is given back."""
        svids = [self.authority.svid(f"spiffe://example.org{path}{hint}", hint=hint) for hint in hints]
        identities = [
            agent_pb2.Identity(spiffe_id=str(s.spiffe_id), chain=s.chain_der(), key=s.key_der(), hint=s.hint)
            for s in svids
        ]
        self._tell(
            agent_pb2.Identities(
                identities=identities,
                bundles={"example.org": self.authority.bundle.der()},
                crls=[self._crl(number) for number in range(crls)],
                trust_domain="example.org",
            )
        )
        return svids[0]

    def withdraw(self, reason: str) -> None:
        self._tell(agent_pb2.Identities(trust_domain="example.org", reason=reason))

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._server.stop(None).wait()

    def Attend(
        self, requests: Iterator[agent_pb2.AttendRequest], context: grpc.ServicerContext
    ) -> Iterator[agent_pb2.AttendResponse]:
        snapshot = agent_pb2.Revocations(log_id=self.authority.log_id, snapshot=True)
        yield agent_pb2.AttendResponse(revocations=snapshot)
        seen = -1
        context.add_callback(self._wake)
        while context.is_active():
            with self._changed:
                while self._version == seen and not self._is_over and context.is_active():
                    self._changed.wait()
                if self._is_over:
                    return
                seen, state = self._version, self._state
            yield agent_pb2.AttendResponse(identities=state)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell(self, state: agent_pb2.Identities) -> None:
        with self._changed:
            self._state = state
            self._version += 1
            self._changed.notify_all()

    def _crl(self, number: int) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.authority.issuing.subject)
            .last_update(now)
            .next_update(now + dt.timedelta(days=1))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        return builder.sign(self.authority.issuing_key, hashes.SHA256()).public_bytes(Encoding.DER)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def agent(short_dir: Path) -> Iterator[FakeAgent]:
    double = FakeAgent(short_dir / "api.sock")
    yield double
    double.close()


@pytest.fixture
def start(agent: FakeAgent, short_dir: Path) -> Iterator[Start]:
    """Starts a command line that finds the double; whatever still runs at the end is ended."""
    started: list[subprocess.Popen[str]] = []
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))
    runtime = short_dir / "runtime"
    runtime.mkdir()
    env = {**os.environ, "PYTHONPATH": path, "SPIFFE_ENDPOINT_SOCKET": agent.endpoint, "XDG_RUNTIME_DIR": str(runtime)}
    env.pop("RUNTIME_DIRECTORY", None)

    def run(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "inborn_cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=short_dir,
            env=env,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()  # which a program that was started gets as well
    for process in started:
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def serial_of(pem: bytes) -> bytes:
    return read_certificate(x509.load_pem_x509_certificates(pem)[0]).serial


def test_fetch_shows_the_identity(agent: FakeAgent, start: Start) -> None:
    svid = agent.issue()
    out, err = start("svid", "fetch").communicate(timeout=PATIENCE)
    assert err == ""
    assert f"spiffe id    {WEB}\n" in out
    assert f"serial       {svid.facts.serial.hex()}\n" in out
    assert "valid until" in out
    (document,) = json.loads(start("svid", "fetch", "--json").communicate(timeout=PATIENCE)[0])
    assert document["spiffe_id"] == WEB
    assert document["serial"] == svid.facts.serial.hex()
    assert document["alias"] == svid.spiffe_id.alias
    assert "key" not in document


def test_fetch_waits_for_an_entry_that_is_made_meanwhile(agent: FakeAgent, start: Start) -> None:
    process = start("svid", "fetch", "--timeout", "1m", "--json")
    agent.withdraw("not yet")
    agent.issue()
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(out)[0]["spiffe_id"] == WEB


def test_fetch_says_why_there_is_none(agent: FakeAgent, start: Start) -> None:
    process = start("svid", "fetch", "--timeout", "1")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("error: no identity: no entry matches\nhint: `inborn why`")


def test_fetch_without_an_agent_says_so(agent: FakeAgent, start: Start, short_dir: Path) -> None:
    process = start("svid", "fetch", "--timeout", "1", "--socket", "none.sock")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("error: ")
    assert f"{short_dir}/none.sock" in err


def test_fetch_writes_files_that_fit(agent: FakeAgent, start: Start, short_dir: Path) -> None:
    svid = agent.issue()
    process = start("svid", "fetch", "--write", "tls")
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "written to tls\n")
    directory = short_dir / "tls"
    assert serial_of((directory / "svid.pem").read_bytes()) == svid.facts.serial
    key = load_pem_private_key((directory / "key.pem").read_bytes(), password=None)
    assert key.public_key() == svid.leaf.public_key()
    assert stat.S_IMODE((directory / "key.pem").stat().st_mode) == 0o600
    assert (directory / "bundle.pem").read_bytes() == agent.authority.bundle.pem()
    crl = x509.load_pem_x509_crl((directory / "crl.pem").read_bytes())
    assert crl.is_signature_valid(agent.authority.issuing_key.public_key())
    # Again: what was there is replaced.
    svid = agent.issue()
    assert start("svid", "fetch", "--write", "tls").wait(PATIENCE) == 0
    assert serial_of((directory / "svid.pem").read_bytes()) == svid.facts.serial


def test_fetch_takes_the_identity_with_the_hint(agent: FakeAgent, start: Start) -> None:
    agent.issue(hints=("a", "b"))
    out, _ = start("svid", "fetch", "--json").communicate(timeout=PATIENCE)
    assert [document["hint"] for document in json.loads(out)] == ["a", "b"]
    out, _ = start("svid", "fetch", "--json", "--hint", "b").communicate(timeout=PATIENCE)
    assert [document["spiffe_id"] for document in json.loads(out)] == [f"{WEB}b"]
    process = start("svid", "fetch", "--hint", "c", "--timeout", "1")
    assert "error: no identity has the hint 'c'\n" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1


def test_watch_prints_each_rotation_and_the_end(agent: FakeAgent, start: Start) -> None:
    first = agent.issue()
    process = start("svid", "watch", "--json")
    seen = json.loads(line_of(process))
    assert seen["svids"][0]["serial"] == first.facts.serial.hex()
    second = agent.issue()
    assert json.loads(line_of(process))["svids"][0]["serial"] == second.facts.serial.hex()
    agent.withdraw("entry deleted")
    last = json.loads(line_of(process))
    assert (last["svids"], last["reason"]) == ([], "entry deleted")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


# A program that reads files alone: says which serial it sees, again at each SIGHUP, and ends at SIGTERM.
READER = """
import os, signal, sys
from cryptography import x509
def show(*_):
    with open(os.environ["INBORN_SVID_FILE"], "rb") as file:
        print(format(x509.load_pem_x509_certificates(file.read())[0].serial_number, "x"), flush=True)
signal.signal(signal.SIGHUP, show)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
show()
while True:
    signal.pause()
"""


def test_exec_keeps_files_fresh_and_tells_the_program(agent: FakeAgent, start: Start, short_dir: Path) -> None:
    process = start("exec", "--renew-signal", "HUP", "--", sys.executable, "-c", READER)
    first = agent.issue()
    assert line_of(process) == f"{first.leaf.serial_number:x}"
    for _ in range(3):
        renewed = agent.issue()
        assert line_of(process) == f"{renewed.leaf.serial_number:x}"
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 9
    assert all(line.startswith("waiting: ") for line in err.splitlines())


def test_exec_tells_the_program_of_a_new_crl(agent: FakeAgent, start: Start) -> None:
    count = READER.replace("INBORN_SVID_FILE", "INBORN_CRL_FILE").replace(
        'format(x509.load_pem_x509_certificates(file.read())[0].serial_number, "x")', "file.read().count(b'BEGIN')"
    )
    agent.issue(crls=1)
    process = start("exec", "--renew-signal", "SIGHUP", "--", sys.executable, "-c", count)
    assert line_of(process) == "1"
    agent.issue(crls=2)
    assert line_of(process) == "2"


def test_exec_hands_over_environment_and_closed_directory(agent: FakeAgent, start: Start) -> None:
    agent.issue()
    process = start("exec", "--", "sh", "-c", 'env; stat -c "mode=%a" "$INBORN_SVID_DIR"; cat "$INBORN_BUNDLE_FILE"')
    out, _ = process.communicate(timeout=PATIENCE)
    env = dict(line.partition("=")[::2] for line in out.splitlines())
    directory = Path(env["INBORN_SVID_DIR"])
    assert env["SPIFFE_ENDPOINT_SOCKET"] == agent.endpoint
    assert env["INBORN_SVID_FILE"] == f"{directory}/svid.pem"
    assert env["INBORN_KEY_FILE"] == f"{directory}/key.pem"
    assert env["INBORN_BUNDLE_FILE"] == f"{directory}/bundle.pem"
    assert env["INBORN_CRL_FILE"] == f"{directory}/crl.pem"
    assert env["mode"] == "700"
    assert agent.authority.bundle.pem().decode() in out
    assert not directory.exists()


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)])
def test_exec_returns_the_programs_exit_status(script: str, status: int, agent: FakeAgent, start: Start) -> None:
    agent.issue()
    assert start("exec", "--", "sh", "-c", script).wait(PATIENCE) == status


def test_exec_leaves_the_programs_options_alone(agent: FakeAgent, start: Start) -> None:
    agent.issue()
    out, _ = start("exec", "echo", "--help", "--json", "-x").communicate(timeout=PATIENCE)
    assert out == "--help --json -x\n"


def test_exec_writes_to_the_directory_named_and_clears_it(agent: FakeAgent, start: Start, short_dir: Path) -> None:
    agent.issue()
    (short_dir / "tls").mkdir()
    (short_dir / "tls" / "mine").touch()
    process = start("exec", "--write", "tls", "--", "sh", "-c", 'ls "$INBORN_SVID_DIR"')
    out, _ = process.communicate(timeout=PATIENCE)
    assert out.split() == ["bundle.pem", "crl.pem", "key.pem", "mine", "svid.pem"]
    assert [entry.name for entry in (short_dir / "tls").iterdir()] == ["mine"]


def test_exec_does_not_start_the_program_without_an_identity(agent: FakeAgent, start: Start, short_dir: Path) -> None:
    process = start("exec", "--timeout", "2", "--", "touch", "started")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "waiting: no identity: no entry matches\n" in err
    assert "error: no identity within 2s\n" in err
    assert not (short_dir / "started").exists()


def test_exec_that_waits_ends_at_a_signal(agent: FakeAgent, start: Start) -> None:
    process = start("exec", "--", "true")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("waiting: ")
    process.terminate()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_exec_keeps_the_files_when_the_identity_is_withdrawn(agent: FakeAgent, start: Start) -> None:
    svid = agent.issue()
    process = start("exec", "--", sys.executable, "-c", READER)
    assert line_of(process) == f"{svid.leaf.serial_number:x}"
    agent.withdraw("revoked and blocked")
    assert process.stderr is not None
    assert process.stderr.readline() == "the files stay as they are: no identity: revoked and blocked\n"
    process.send_signal(signal.SIGHUP)
    assert line_of(process) == f"{svid.leaf.serial_number:x}"


@pytest.mark.parametrize(
    ("program", "status"), [("/no/such/program", 127), ("no-such-program-anywhere", 127), ("/etc/passwd", 127)]
)
def test_exec_of_what_is_no_program_fails_at_once(program: str, status: int, agent: FakeAgent, start: Start) -> None:
    process = start("exec", "--", program)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert err == f"error: {program}: no such program\n"


def test_exec_without_a_program_is_a_usage_error(agent: FakeAgent, start: Start) -> None:
    process = start("exec", "--renew-signal", "NOPE", "true")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "not a signal: 'NOPE'" in err
    assert start("exec").wait(PATIENCE) == 2
