"""Subscribers of a CA, many in one process: each with a certificate, a connection and a stream of its own.

`python -m benchmarks.subscribers` reads a JSON line with the certificates, says `ready` when every stream has its
snapshot, and then for each revocation, when the last of them has it, the moments (monotonic) at which each had it.
Whose stream ends comes back at once, without the pause that an agent makes, from where it stood; `back` says that all
are there again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio

from inborn_proto import ca_pb2, feed_pb2

WATCH = "/inborn.v1.Authority/Watch"


OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 200))  # as an agent's


@dataclass(slots=True)
class Group:
    """The streams of this process, and when each had which revocation."""

    count: int
    arrived: int = 0
    returned: list[float] = field(default_factory=list)
    octets: int = 0
    had: dict[int, list[float]] = field(default_factory=dict)

    def opened(self) -> None:
        self.arrived += 1
        if self.arrived == self.count:
            say({"ready": self.count})

    def came_back(self, octets: int) -> None:
        self.octets += octets
        self.returned.append(time.monotonic())
        if len(self.returned) == self.count:
            say({"back": self.returned, "octets": self.octets})
            self.returned, self.octets = [], 0

    def received(self, seq: int, at: float) -> None:
        moments = self.had.setdefault(seq, [])
        moments.append(at)
        if len(moments) == self.count:
            say({"seq": seq, "at": self.had.pop(seq)})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


@dataclass(slots=True)
class Subscriber:
    """One of them, and how far it has come in the domain's feed."""

    group: Group
    channel: grpc.aio.Channel
    gate: asyncio.Semaphore
    hello: ca_pb2.WatchHello = field(default_factory=ca_pb2.WatchHello)

    async def run(self) -> None:
        is_new = True
        while True:
            call = self.channel.stream_stream(
                WATCH, ca_pb2.WatchRequest.SerializeToString, feed_pb2.FeedMessage.FromString
            )(wait_for_ready=True)
            try:
                async with self.gate:
                    await call.write(ca_pb2.WatchRequest(hello=self.hello))
                    first = cast(feed_pb2.FeedMessage, await call.read())
                if is_new:
                    self.group.opened()
                else:
                    self.group.came_back(first.ByteSize())
                is_new = False
                await self._take(call, first)
                while True:
                    await self._take(call, cast(feed_pb2.FeedMessage, await call.read()))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                continue

    async def _take(self, call: Any, message: feed_pb2.FeedMessage) -> None:
        at = time.monotonic()
        body = feed_pb2.FeedBody.FromString(message.body)
        if body.node:
            return
        self.hello = ca_pb2.WatchHello(log_id=body.log_id, domain_revision=body.revision)
        if body.WhichOneof("content") == "domain" and body.domain.revocations and not body.domain.snapshot:
            seq = body.domain.revocation_seq
            self.group.received(seq, at)
            ack = ca_pb2.WatchAck(domain_revision=body.revision, revocation_seq=seq, log_id=body.log_id)
            await call.write(ca_pb2.WatchRequest(ack=ack))


async def follow(group: Group, asked: dict[str, str], gate: asyncio.Semaphore) -> None:
    credentials = grpc.ssl_channel_credentials(asked["bundle"].encode(), asked["key"].encode(), asked["chain"].encode())
    options = [("grpc.ssl_target_name_override", asked["alias"]), *OPTIONS]
    async with grpc.aio.secure_channel(asked["address"], credentials, options) as channel:
        await Subscriber(group, channel, gate).run()


async def main() -> None:
    asked = json.loads(sys.stdin.readline())
    group, gate = Group(len(asked)), asyncio.Semaphore(len(asked))
    await asyncio.gather(*(follow(group, one, gate) for one in asked))


if __name__ == "__main__":
    asyncio.run(main())
