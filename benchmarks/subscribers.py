"""Subscribers of a CA, many in one process: each with a certificate, a connection and a stream of its own.

`python -m benchmarks.subscribers` reads a JSON line with the certificates, says `ready` when every stream has its
snapshot, and then for each revocation, when the last of them has it, the moments (monotonic) at which each had it.
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


@dataclass(slots=True)
class Group:
    """The streams of this process, and when each had which revocation."""

    count: int
    ready: int = 0
    had: dict[int, list[float]] = field(default_factory=dict)

    def opened(self) -> None:
        self.ready += 1
        if self.ready == self.count:
            say({"ready": self.count})

    def received(self, seq: int, at: float) -> None:
        moments = self.had.setdefault(seq, [])
        moments.append(at)
        if len(moments) == self.count:
            say({"seq": seq, "at": self.had.pop(seq)})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


async def follow(group: Group, asked: dict[str, str], gate: asyncio.Semaphore) -> None:
    credentials = grpc.ssl_channel_credentials(asked["bundle"].encode(), asked["key"].encode(), asked["chain"].encode())
    options = [("grpc.ssl_target_name_override", asked["alias"]), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(asked["address"], credentials, options) as channel:
        call = channel.stream_stream(WATCH, ca_pb2.WatchRequest.SerializeToString, feed_pb2.FeedMessage.FromString)()
        async with gate:
            await call.write(ca_pb2.WatchRequest(hello=ca_pb2.WatchHello()))
            await call.read()
        group.opened()
        while True:
            message = cast(feed_pb2.FeedMessage, await call.read())
            at = time.monotonic()
            body = feed_pb2.FeedBody.FromString(message.body)
            if body.WhichOneof("content") == "domain" and body.domain.revocations:
                seq = body.domain.revocation_seq
                group.received(seq, at)
                ack = ca_pb2.WatchAck(domain_revision=body.revision, revocation_seq=seq, log_id=body.log_id)
                await call.write(ca_pb2.WatchRequest(ack=ack))


async def main() -> None:
    asked = json.loads(sys.stdin.readline())
    group, gate = Group(len(asked)), asyncio.Semaphore(20)  # handshakes at a time
    await asyncio.gather(*(follow(group, one, gate) for one in asked))


if __name__ == "__main__":
    asyncio.run(main())
