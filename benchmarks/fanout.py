"""A revocation on its way to many agents: from the admin's call until the slowest of them has it."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from cryptography.hazmat.primitives import serialization

from benchmarks.machine import cpu_seconds, measure
from benchmarks.report import Figure
from benchmarks.rig import TRUST_DOMAIN, LoadAgent, Rig, front_alias, running
from inborn_proto import admin_pb2

__all__ = ["come_back", "push", "run", "subscribers"]

SUBSCRIBERS = 1_000
PROCESSES = 4
PUSHES = 20
BAR = 150  # milliseconds, of the slowest
RETURN_BAR = 5  # seconds: a handshake costs the two sides 3 ms, and a client whose attempt failed waits for a second


def run() -> list[Figure]:
    with running() as rig, subscribers(rig, SUBSCRIBERS) as groups:
        before = _children(groups)
        with measure(rig.pids) as spent:
            slowest = push(rig, groups, PUSHES)
        load = (_children(groups) - before) / spent.wall  # the subscribers are no stranger's load
        others = max(0.0, spent.others - load)
        seconds, octets = come_back(rig, groups)
    return [
        Figure(
            name=f"revoke until the slowest of {SUBSCRIBERS:,} subscribers has it, median of {PUSHES}",
            value=1000 * statistics.median(slowest),
            unit="ms",
            bar=BAR,
            detail=f"mutual TLS, {PROCESSES} client processes; worst push {1000 * max(slowest):.0f} ms",
            others=others,
        ),
        Figure(
            name=f"all of {SUBSCRIBERS:,} are back after the CA was killed and serves again",
            value=seconds,
            unit="s",
            bar=RETURN_BAR,
            detail=f"each at once, without an agent's pause; first message of {octets / SUBSCRIBERS:.0f} bytes each",
        ),
    ]


def _children(groups: list[subprocess.Popen[str]]) -> float:
    """Seconds of processor time that these processes have used."""
    return cpu_seconds([group.pid for group in groups])


@contextmanager
def subscribers(rig: Rig, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many streams, in some processes, each with its snapshot."""
    agents = asyncio.run(rig.agents(count))
    alias = front_alias(rig)
    with ExitStack() as stack:
        groups = [
            stack.enter_context(_started([_credentials(agent, alias) for agent in agents[n::PROCESSES]]))
            for n in range(PROCESSES)
        ]
        for group in groups:
            json.loads(_line(group))  # ready
        yield groups


def push(rig: Rig, groups: list[subprocess.Popen[str]], pushes: int) -> list[float]:
    """Seconds from each revocation's call until the last subscriber had it. Each is a run of its own: it begins when
    everybody has acknowledged the one before."""
    seconds = []
    for number in range(pushes):
        begun = time.monotonic()
        request = admin_pb2.RevokeRequest(spiffe_id=f"spiffe://{TRUST_DOMAIN}/pushed/{number}")
        seq = rig.call("Revoke", request).revocation_seq
        moments: list[float] = []
        for group in groups:
            had = json.loads(_line(group))
            if had["seq"] != seq:
                raise RuntimeError(f"revocation {had['seq']} came, {seq} was sent")
            moments += had["at"]
        seconds.append(max(moments) - begun)
        waited = rig.call("GetPropagation", admin_pb2.PropagationRequest(revocation_seq=seq, wait_ms=30_000))
        if waited.applied != waited.peers:
            raise RuntimeError(f"{waited.applied} of {waited.peers} have acknowledged")
    return seconds


def come_back(rig: Rig, groups: list[subprocess.Popen[str]]) -> tuple[float, int]:
    """Kill the CA and start it again: seconds from when it serves until the last subscriber has its stream again, and
    the bytes of all their first messages."""
    rig.restart()
    begun = time.monotonic()
    moments: list[float] = []
    octets = 0
    for group in groups:
        back = json.loads(_line(group))
        moments += back["back"]
        octets += back["octets"]
    return max(moments) - begun, octets


@contextmanager
def _started(asked: list[dict[str, str]]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.subscribers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            _pipe(process.stdin).write(json.dumps(asked) + "\n")
            _pipe(process.stdin).flush()
            yield process
        finally:
            process.kill()


def _credentials(agent: LoadAgent, alias: str) -> dict[str, str]:
    key = agent.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "key": key.decode(),
        "chain": agent.enrolled.svid.chain_pem().decode(),
        "bundle": agent.enrolled.bundle.pem().decode(),
        "address": agent.enrolled.api_address,
        "alias": alias,
    }


def _line(process: subprocess.Popen[str]) -> str:
    line = _pipe(process.stdout).readline()
    if not line:
        raise RuntimeError("a process of subscribers has ended")
    return line


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("process has no pipe")
    return pipe
