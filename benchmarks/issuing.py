"""Issuing, durable before it is returned: single calls, batches, and a burst."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from benchmarks.floor import floor_microseconds
from benchmarks.machine import Spent, measure
from benchmarks.report import Figure
from benchmarks.rig import LoadAgent, Rig, front_alias, issue_call, running, warm

__all__ = ["run"]

ROUNDS = 3


def run() -> list[Figure]:
    return asyncio.run(_run())


async def _run() -> list[Figure]:
    with running() as rig:
        entry = rig.create_entry("/load")
        agents = await rig.agents(64)
        alias = front_alias(rig)
        channels = [agent.channel(alias) for agent in agents]
        calls = [issue_call(channel) for channel in channels]
        for agent, call in zip(agents, calls, strict=True):
            await warm(call, agent.request(entry, 1))
        figures = [
            await _load(rig, "single calls, 64 agents", agents, calls, entry, items=1, each=20, bar=8.0),
            await _load(rig, "batches of 100, 8 agents", agents[:8], calls[:8], entry, items=100, each=3, bar=4.0),
            await _burst(agents, calls, entry),
        ]
        for channel in channels:
            await channel.close()
    return figures


async def _load(
    rig: Rig, name: str, agents: list[LoadAgent], calls: list[Any], entry: str, *, items: int, each: int, bar: float
) -> Figure:
    """Each agent has one call under way, as a real one has."""
    rows: list[tuple[float, float, Spent]] = []
    for _ in range(ROUNDS):
        floor = floor_microseconds()
        plans = [[agent.request(entry, items) for _ in range(each)] for agent in agents]

        async def one(call: Callable[[Any], Awaitable[Any]], plan: list[Any]) -> None:
            for request in plan:
                response = await call(request)
                assert all(result.HasField("leaf") for result in response.results), response.results[0]

        with measure(rig.pids) as spent:
            await asyncio.gather(*(one(call, plan) for call, plan in zip(calls, plans, strict=True)))
        certificates = len(agents) * each * items
        rows.append((spent.ours / certificates * 1e6 / floor, certificates / spent.wall, spent))
    ratio, rate, spent = sorted(rows, key=lambda row: row[0])[len(rows) // 2]
    return Figure(
        name=f"issue, {name}",
        value=ratio,
        unit="x floor",
        bar=bar,
        detail=f"{rate:.0f} certificates/s with the load on the same cores",
        others=spent.others,
    )


async def _burst(agents: list[LoadAgent], calls: list[Any], entry: str) -> Figure:
    """10,000 calls at once: each is answered, and none with a bare CANCELLED."""
    each = 10_000 // len(agents) + 1
    plans = [(call, agent.request(entry, 1)) for agent, call in zip(agents, calls, strict=True) for _ in range(each)]
    del plans[10_000:]
    outcomes: dict[str, int] = {}

    async def one(call: Any, request: Any) -> None:
        try:
            await call(request)
            outcome = "OK"
        except grpc.aio.AioRpcError as e:
            outcome = e.code().name
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    begun = time.perf_counter()
    await asyncio.gather(*(one(call, request) for call, request in plans))
    wall = time.perf_counter() - begun
    bad = sum(count for outcome, count in outcomes.items() if outcome not in ("OK", "RESOURCE_EXHAUSTED"))
    return Figure(
        name="burst of 10,000 calls: neither answered nor told to wait",
        value=bad,
        unit="calls",
        bar=0,
        detail=f"{wall:.1f} s; " + ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items())),
    )
