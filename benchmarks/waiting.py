"""How long people wait: for an identity, for a new entry, for a revocation."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import grpc
import grpc.aio

from benchmarks.machine import measure, pss_mib
from benchmarks.report import Figure, percentile
from benchmarks.rig import TRUST_DOMAIN, Rig, running
from inborn._internal.source.x509_source import X509Source
from inborn_proto import admin_pb2, workload

__all__ = ["run"]

CONNECTS = 200
ENTRIES = 40
REVOCATIONS = 40
CROWD = 500


def run() -> list[Figure]:
    with running() as rig:
        time.sleep(2)  # let everything that starts up come to rest: memory is measured idle
        figures = [
            Figure(name="idle CA and agent, all processes", value=pss_mib(rig.pids), unit="MiB PSS", bar=120),
        ]
        rig.create_entry("/bench")
        figures += asyncio.run(_crowd(rig))
        figures += _connects(rig)
        figures += _pushes(rig)
        figures += _new_entries(rig)
        figures += _revocations(rig)
    return figures


def _figures(name: str, seconds: list[float], others: float, *bars: tuple[float, float]) -> list[Figure]:
    return [
        Figure(
            name=f"{name}, p{share * 100:.0f}",
            value=percentile(seconds, share) * 1000,
            unit="ms",
            bar=bar,
            others=others,
            detail=f"{len(seconds)} times",
        )
        for share, bar in bars
    ]


async def _crowd(rig: Rig) -> list[Figure]:
    """All workloads of a node at once: each attested and served, and what each takes of the agent's memory."""
    agent = [pid for pid in rig.pids if b"inborn_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    before, channels = pss_mib(agent), []

    async def one() -> None:
        channel = grpc.aio.insecure_channel(
            rig.socket.replace("unix://", "unix:"), [("grpc.use_local_subchannel_pool", 1)]
        )
        channels.append(channel)
        fetch = channel.unary_stream(
            "/SpiffeWorkloadAPI/FetchX509SVID",
            request_serializer=workload.X509SVIDRequest.SerializeToString,
            response_deserializer=workload.X509SVIDResponse.FromString,
        )
        await fetch(workload.X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),), timeout=30).read()

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CROWD)))
    elapsed = time.perf_counter() - begun
    each = (pss_mib(agent) - before) * 1024 / CROWD
    for channel in channels:
        await channel.close()
    return [
        Figure(name=f"{CROWD} workloads attested and served", value=elapsed, unit="s", bar=5),
        Figure(name="agent's memory for each of them", value=each, unit="KiB PSS", bar=200),
    ]


def _connects(rig: Rig) -> list[Figure]:
    """A new connection of a stock gRPC client until its SVID is there, attested each time."""
    seconds = []
    with measure(rig.pids) as spent:
        for _ in range(CONNECTS):
            begun = time.perf_counter()
            with grpc.insecure_channel(
                rig.socket.replace("unix://", "unix:"), [("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                fetch = channel.unary_stream(
                    "/SpiffeWorkloadAPI/FetchX509SVID",
                    request_serializer=workload.X509SVIDRequest.SerializeToString,
                    response_deserializer=workload.X509SVIDResponse.FromString,
                )
                stream = fetch(workload.X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),), timeout=10)
                next(iter(stream))
                seconds.append(time.perf_counter() - begun)
                stream.cancel()
    return _figures("a process connects until it has its SVID", seconds, spent.others, (0.5, 4), (0.99, 12))


def _pushes(rig: Rig) -> list[Figure]:
    """A workload that is connected and was attested asks again: attested once more, its SVID pushed."""
    seconds = []
    with grpc.insecure_channel(rig.socket.replace("unix://", "unix:")) as channel:
        fetch = channel.unary_stream(
            "/SpiffeWorkloadAPI/FetchX509SVID",
            request_serializer=workload.X509SVIDRequest.SerializeToString,
            response_deserializer=workload.X509SVIDResponse.FromString,
        )
        with measure(rig.pids) as spent:
            for _ in range(CONNECTS):
                begun = time.perf_counter()
                stream = fetch(workload.X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),), timeout=10)
                next(iter(stream))
                seconds.append(time.perf_counter() - begun)
                stream.cancel()
    return _figures("a connected process asks until it has its SVID", seconds, spent.others, (0.5, 5), (0.99, 20))


def _new_entries(rig: Rig) -> list[Figure]:
    """From the return of `entry create` to the SVID in a workload that waits for it."""
    seconds = []
    with measure(rig.pids) as spent:
        for number in range(ENTRIES):
            with X509Source(rig.socket, timeout=10) as source:
                path = f"/new/{number}"
                seen = threading.Event()

                def look(snapshot: object, path: str = path, seen: threading.Event = seen) -> None:
                    if any(svid.spiffe_id.path == path for svid in source.snapshot().svids):
                        seen.set()

                cancel = source.subscribe(look)
                rig.create_entry(path)
                begun = time.perf_counter()
                look(None)
                if not seen.wait(10):
                    raise RuntimeError(f"{path} never came")
                seconds.append(time.perf_counter() - begun)
                cancel()
    return _figures("entry create returned until the SVID is there", seconds, spent.others, (0.5, 50), (0.99, 100))


def _revocations(rig: Rig) -> list[Figure]:
    """From the return of `revoke` until a peer's library refuses the certificate."""
    seconds = []
    rig.create_entry("/peer", selectors=[f"unix:uid:{os.geteuid()}", f"unix:path:{Path('/proc/self/exe').readlink()}"])
    with measure(rig.pids) as spent:
        with X509Source(rig.socket, timeout=10) as source:
            for number in range(REVOCATIONS):
                before = source.snapshot().revocations.seq
                told = threading.Event()

                def look(snapshot: object, before: int = before, told: threading.Event = told) -> None:
                    if source.snapshot().revocations.seq > before:
                        told.set()

                cancel = source.subscribe(look)
                request = admin_pb2.RevokeRequest(spiffe_id=f"spiffe://{TRUST_DOMAIN}/gone/{number}")
                rig.call("Revoke", request)
                begun = time.perf_counter()
                look(None)
                if not told.wait(10):
                    raise RuntimeError("a revocation never came")
                seconds.append(time.perf_counter() - begun)
                cancel()
    return _figures("revoke returned until the peer refuses", seconds, spent.others, (0.5, 50), (0.99, 100))
