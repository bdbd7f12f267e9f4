"""Programs of others as processes that say one JSON document a line, and one Inborn that they all ask."""

from __future__ import annotations

import datetime as dt
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from inborn._internal.host.paths import workload_socket
from inborn._internal.source.snapshot import Snapshot
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn_cli.workload.identity_files import BUNDLE_FILE, CRL_FILE, KEY_FILE, SVID_FILE
from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, Only, spiffe_id, wait_for_snapshot
from tests.rigs.up_rig import environment

HERE = Path(__file__).resolve().parent
PATIENCE = 30.0  # seconds: for machines that are swamped
SWEEP = dt.timedelta(seconds=0.5)  # after which a connection of an expired peer is surely ended


@dataclass
class Program:
    """A program of somebody else. `expect` returns the next document with the wanted event."""

    process: subprocess.Popen[str]
    documents: queue.SimpleQueue[dict[str, Any] | None] = field(default_factory=queue.SimpleQueue)
    stderr: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.documents.put(json.loads(line))
        self.documents.put(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        self.stderr.extend(self.process.stderr)

    def next(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next document, whatever it says."""
        try:
            document = self.documents.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise AssertionError(f"said nothing within {seconds:g} s\n{self._complaints()}") from None
        assert document is not None, f"ended with status {self.process.wait(10)}\n{self._complaints()}"
        return document

    def expect(self, event: str, condition: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next document with this event that is as wanted; an error in between fails the test."""
        deadline = time.monotonic() + PATIENCE
        while True:
            document = self.next(deadline - time.monotonic())
            assert event == "error" or document["event"] != "error", document
            if document["event"] == event and condition(document):
                return document

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Close its standard input and wait; its exit status."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def _complaints(self) -> str:
        return "".join(self.stderr)[-3000:]

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@dataclass
class System:
    """One Inborn for all tests here. Each test leaves neither entries nor blocks behind."""

    machine: Machine

    @property
    def endpoint(self) -> str:
        return f"unix://{workload_socket(self.machine.data_dir)}"

    @property
    def environment(self) -> dict[str, str]:
        return environment() | {"SPIFFE_ENDPOINT_SOCKET": self.endpoint}

    def entry(self, path: str, **fields: Any) -> str:
        return self.machine.entry(path, **fields)

    def delete_entry(self, entry: str) -> None:
        self.machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=entry))

    def clear(self) -> None:
        for entry in self.machine.ask("ListEntries", admin_pb2.ListEntriesRequest()).entries:
            self.delete_entry(entry.id)
        for block in self.machine.ask("ListRevocations", admin_pb2.ListRevocationsRequest()).blocks:
            self.machine.ask("Unblock", admin_pb2.UnblockRequest(target=block.target))

    @property
    def agent_pid(self) -> int:
        """The agent's process; raises `KeyError` while there is none."""
        return self.machine.supervisor.children()["agent"]

    def inborn(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command, which is to succeed."""
        done = subprocess.run(
            [*inborn_command(), *arguments],
            env=self.environment | {"INBORN_DATA_DIR": str(self.machine.data_dir)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        assert done.returncode == 0, done.stderr
        return done

    def write(self, directory: Path, hint: str) -> Files:
        """The files of the identity with this hint, as `inborn svid fetch --write` makes them."""
        self.inborn("svid", "fetch", "--hint", hint, "--write", str(directory))
        return Files(directory)

    def revoke(self, path: str, source: X509Source) -> None:
        """Revoke, and wait until the CRLs that other software reads say so."""
        serial = Only(source, path).svid.leaf.serial_number
        self.machine.revoke(path)

        def is_listed(snapshot: Snapshot) -> bool:
            return any(
                x509.load_der_x509_crl(crl).get_revoked_certificate_by_serial_number(serial) for crl in snapshot.crls
            )

        wait_for_snapshot(source, is_listed, f"a CRL with {path}", PATIENCE)

    @contextmanager
    def program(self, command: Sequence[str | Path], **options: Any) -> Iterator[Program]:
        """A program of others that finds the Workload API as SPIFFE says, in its environment."""
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"HOME": os.environ.get("HOME", "/")} | self.environment,
            **options,
        )
        program = Program(process)
        try:
            yield program
        finally:
            program.clean_up()


@dataclass(frozen=True)
class Files:
    """An identity as other software reads it."""

    directory: Path

    @property
    def svid(self) -> str:
        return str(self.directory / SVID_FILE)

    @property
    def key(self) -> str:
        return str(self.directory / KEY_FILE)

    @property
    def bundle(self) -> str:
        return str(self.directory / BUNDLE_FILE)

    @property
    def crl(self) -> str:
        return str(self.directory / CRL_FILE)


def alias(path: str) -> str:
    """The DNS name by which stock software pins the ID."""
    return parse_spiffe_id(spiffe_id(path)).alias


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(*command: str, says: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """A program to its end, whatever its status."""
    return subprocess.run(command, input=says, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def inborn_command() -> list[str]:
    return [sys.executable, "-m", "inborn_cli"]


def outlive(source: Only) -> None:
    """Wait until what is presented now has expired, whoever ends connections by that has had time to, and something
    newer is there: a peer that had missed the rotations would be refused from now on."""
    end = source.svid.facts.not_after + SWEEP
    wait_for_snapshot(source, lambda s: bool(s.svids) and dt.datetime.now(dt.UTC) >= end, "rotations", PATIENCE)
