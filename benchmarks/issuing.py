"""Issuing on the running program, durable before it is returned: batches, single calls, new connections, a burst.

The load comes from stock gRPC clients in this process; what is counted is the CPU of all processes of the program.
Other CAs are measured in between, in the same rounds, where they can be installed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from benchmarks import echo, peers
from benchmarks.floor import floor_microseconds
from benchmarks.machine import cpu_seconds, measure
from benchmarks.report import Figure, Sample, figure_of
from benchmarks.rig import LoadAgent, Rig, front_alias, issue_call, issue_stream, running, warm

__all__ = ["run"]

ROUNDS = 3
OUTSTANDING = 128  # single calls, each of an agent of its own
GATHERED = 4096  # certificates that the callers of one agent ask for
CONNECTIONS, AT_ONCE = 64, 8
BURST = 10_000
BURST_SECONDS = 3.0

BATCH_100 = "batches of 100, 8 agents"
BATCH_10 = "batches of 10, 16 agents"
SINGLE = "single requests, 128 outstanding, of as many agents"
UNARY = "  the same, each with a call of its own"
GATHERING = "single requests, 128 outstanding, of one agent that gathers"
CONNECT = "a new mutual-TLS connection and one certificate"
BARS = {BATCH_100: 2.0, BATCH_10: 2.5, SINGLE: 5.0, GATHERING: 2.5, CONNECT: 22.0}

Work = Callable[[], Awaitable[int]]
"""Does it, and says how many certificates that were."""


@dataclass(slots=True)
class Load:
    """A program under load, and what its parts used."""

    rig: Rig
    entry: str
    alias: str
    agents: list[LoadAgent]
    calls: list[Any]
    streams: list[Any]
    parts: dict[str, list[float]] = field(default_factory=dict)

    def steady(self, agents: int, items: int, each: int) -> Work:
        """Each agent has one call under way, as a real one has. Requests are made beforehand."""
        plans = [[agent.request(self.entry, items) for _ in range(each)] for agent in self.agents[:agents]]

        async def one(call: Any, plan: list[Any]) -> None:
            for request in plan:
                _check(await call(request))

        async def work() -> int:
            await asyncio.gather(*(one(call, plan) for call, plan in zip(self.calls, plans, strict=False)))
            return agents * each * items

        return work

    def asking(self, each: int) -> Work:
        """Each agent has one request under way, on the stream that it keeps open."""
        plans = [[agent.request(self.entry, 1) for _ in range(each)] for agent in self.agents]

        async def one(stream: Any, plan: list[Any]) -> None:
            for request in plan:
                await stream.write(request)
                _check(await stream.read())

        async def work() -> int:
            await asyncio.gather(*(one(*pair) for pair in zip(self.streams, plans, strict=True)))
            return len(plans) * each

        return work

    def gathering(self) -> Work:
        """Callers of one agent, each with one call: what waits when an answer arrives is the next request."""

        async def work() -> int:
            agent, call = self.agents[0], self.calls[0]
            waiting, done = OUTSTANDING, 0
            first = 1  # the first to come finds nobody to wait for
            while done < GATHERED:
                items, first = (first, 0) if first else (waiting, 0)
                waiting -= items
                _check(await call(agent.request(self.entry, items)))
                done += items
                waiting += items
            return done

        return work

    def connecting(self) -> Work:
        """A renewal storm: nobody has kept a connection."""
        pairs = [(agent, agent.request(self.entry, 1)) for agent in self.agents[:CONNECTIONS]]

        async def one(agent: LoadAgent, request: Any) -> None:
            async with agent.channel(self.alias) as channel:
                _check(await issue_call(channel)(request))

        async def work() -> int:
            for start in range(0, len(pairs), AT_ONCE):
                await asyncio.gather(*(one(*pair) for pair in pairs[start : start + AT_ONCE]))
            return len(pairs)

        return work


def run() -> list[Figure]:
    return asyncio.run(_run())


async def _run() -> list[Figure]:
    with ExitStack() as stack:
        rig = stack.enter_context(running())
        entry, alias = rig.create_entry("/load"), front_alias(rig)
        agents = await rig.agents(OUTSTANDING)
        channels = [agent.channel(alias) for agent in agents]
        load = Load(
            rig=rig,
            entry=entry,
            alias=alias,
            agents=agents,
            calls=[issue_call(channel) for channel in channels],
            streams=[issue_stream(channel) for channel in channels],
        )
        for agent, call in zip(agents, load.calls, strict=True):
            await warm(call, agent.request(entry, 1))
        gates = stack.enter_context(echo.running(agents[0]))
        await gates.connect(OUTSTANDING)
        others, reasons = peers.start(stack)
        samples = await _rounds(load, gates, others)
        figures = [figure_of(name, samples[name], bar) for name, bar in BARS.items()]
        figures += [_share(load, name) for name in (SINGLE, CONNECT)]
        figures += [figure_of(name, samples[name]) for name in (echo.CONNECT, echo.STREAMS, UNARY, echo.CALLS)]
        figures += peers.figures(samples, reasons, single=samples[SINGLE], batch=samples[BATCH_100])
        figures += await _burst(load)
        for channel in channels:
            await channel.close()
        await gates.close()
    return figures


async def _rounds(load: Load, gates: echo.Echo, others: Mapping[str, peers.Peer]) -> dict[str, list[Sample]]:
    """Everything in turn, three times over, each with a floor of its own."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(ROUNDS):
        works: dict[str, tuple[Work, list[int]]] = {
            BATCH_100: (load.steady(8, 100, 3), load.rig.pids),
            BATCH_10: (load.steady(16, 10, 10), load.rig.pids),
            SINGLE: (load.asking(48), load.rig.pids),
            UNARY: (load.steady(OUTSTANDING, 1, 12), load.rig.pids),
            GATHERING: (load.gathering(), load.rig.pids),
            CONNECT: (load.connecting(), load.rig.pids),
            echo.CONNECT: (gates.connecting(CONNECTIONS, AT_ONCE), [gates.pid]),
            echo.STREAMS: (gates.streaming(12), [gates.pid]),
            echo.CALLS: (gates.calling(12), [gates.pid]),
            **{name: (peer.work, peer.pids) for name, peer in others.items()},
        }
        for name, (work, pids) in works.items():
            before = {part: cpu_seconds([pid]) for part, pid in load.rig.parts.items()}
            floor = floor_microseconds()
            with measure(pids) as spent:
                certificates = await work()
            samples.setdefault(name, []).append(
                Sample(
                    floor=floor,
                    ours=spent.ours / certificates * 1e6,
                    others=spent.others,
                    rate=certificates / spent.wall,
                )
            )
            if name in (SINGLE, CONNECT):
                for part, pid in load.rig.parts.items():
                    used = (cpu_seconds([pid]) - before[part]) / certificates * 1e6
                    load.parts.setdefault(f"{part} {name}", []).append(used / floor)
    return samples


def _share(load: Load, name: str) -> Figure:
    """Where a request's CPU goes."""
    front, signer = (sorted(load.parts[f"{part} {name}"])[ROUNDS // 2] for part in ("front", "signer"))
    what = "a single request" if name == SINGLE else "a new connection"
    return Figure(name=f"  of {what}, the front", value=front, unit="x floor", detail=f"the signer {signer:.2f}")


async def _burst(load: Load) -> list[Figure]:
    """So many calls at once: each is answered in time, and none with a bare CANCELLED."""
    each = BURST // len(load.agents) + 1
    plans = [
        (call, agent.request(load.entry, 1))
        for agent, call in zip(load.agents, load.calls, strict=True)
        for _ in range(each)
    ][:BURST]
    outcomes: dict[str, int] = {}

    async def one(call: Any, request: Any) -> None:
        try:
            await call(request)
            outcome = "OK"
        except grpc.aio.AioRpcError as e:
            outcome = e.code().name
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    with measure(load.rig.pids) as spent:
        begun = time.perf_counter()
        await asyncio.gather(*(one(call, request) for call, request in plans))
        wall = time.perf_counter() - begun
    bad = sum(count for outcome, count in outcomes.items() if outcome != "OK")
    seen = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items()))
    return [
        Figure(name=f"burst of {BURST} single calls: not answered", value=bad, unit="calls", bar=0, detail=seen),
        Figure(
            name=f"burst of {BURST} single calls: until the last answer",
            value=wall,
            unit="s",
            bar=BURST_SECONDS,
            others=spent.others,
            detail=f"{spent.ours:.1f} s of CPU in the program, the load takes the rest of two cores",
        ),
    ]


def _check(response: Any) -> None:
    assert all(result.HasField("leaf") for result in response.results), response.results[0]
