"""A revocation on its way to many agents: from the admin's call until the slowest of them has it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from cryptography.hazmat.primitives import serialization

from benchmarks.machine import measure
from benchmarks.report import Figure
from benchmarks.rig import TRUST_DOMAIN, LoadAgent, Rig, front_alias, running
from inborn_proto import admin_pb2

__all__ = ["push", "run"]

SUBSCRIBERS = 1_000
PROCESSES = 4
PUSHES = 20
BAR = 150  # milliseconds, of the slowest


def run() -> list[Figure]:
    with running() as rig:
        before = _children()
        with measure(rig.pids) as spent:
            slowest = push(rig, SUBSCRIBERS, PUSHES)
        load = (_children() - before) / spent.wall  # the subscribers are no stranger's load
    figure = Figure(
        name=f"revoke until the slowest of {SUBSCRIBERS:,} subscribers has it, median of {PUSHES}",
        value=1000 * statistics.median(slowest),
        unit="ms",
        bar=BAR,
        detail=f"mutual TLS, {PROCESSES} client processes; worst push {1000 * max(slowest):.0f} ms",
    )
    return [dataclasses.replace(figure, others=max(0.0, spent.others - load))]


def _children() -> float:
    """Seconds of processor time of the child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def push(rig: Rig, subscribers: int, pushes: int) -> list[float]:
    """Seconds from each revocation's call until the last subscriber had it."""
    agents = asyncio.run(rig.agents(subscribers))
    alias = front_alias(rig)
    with ExitStack() as stack:
        groups = [
            stack.enter_context(_started([_credentials(agent, alias) for agent in agents[n::PROCESSES]]))
            for n in range(PROCESSES)
        ]
        for group in groups:
            json.loads(_line(group))  # ready
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
    return seconds


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
