"""What callers acknowledge, on its way to the signer: in natural batches, because a push is answered by a thousand.

One batch is under way; what is acknowledged meanwhile is the next one, and of each caller only the newest counts. A
caller's next acknowledgement is read when its last one has arrived, so nobody can pile any up.
"""

from __future__ import annotations

import asyncio

from inborn._internal.host.log import get_logger
from inborn.errors import InbornError
from inborn_ca.link.link import Link
from inborn_proto import ca_pb2, signer_pb2

__all__ = ["Acknowledgements"]

log = get_logger("ca.watch")

_METHOD = "/inborn.signer.v1.Signing/Acknowledge"
MAX_BATCH = 256  # acknowledgements: with a hundred laggards of 2 KiB each it would be too large for a frame
MAX_BATCH_OCTETS = 512 * 1024  # half of what fits into one of the frames


class Acknowledgements:
    """Used on the event loop alone."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[str, tuple[ca_pb2.WatchAck, asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def send(self, caller: str, ack: ca_pb2.WatchAck) -> None:
        """Returns when the signer has it, or when it was lost: the next one says the same and more."""
        before = self._waiting.get(caller)
        done = before[1] if before is not None else asyncio.get_running_loop().create_future()
        self._waiting[caller] = (ack, done)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        await asyncio.shield(done)

    async def _run(self) -> None:
        while self._waiting:
            batch, futures = self._next()
            try:
                await self._link.call(_METHOD, batch, signer_pb2.Done)
            except InbornError as e:
                log.warning("acknowledge.failed", count=len(futures), error=e.message)
            for future in futures:
                if not future.done():
                    future.set_result(None)

    def _next(self) -> tuple[signer_pb2.Acknowledgements, list[asyncio.Future[None]]]:
        batch, octets = signer_pb2.Acknowledgements(), 0
        futures: list[asyncio.Future[None]] = []
        while self._waiting and len(futures) < MAX_BATCH and octets < MAX_BATCH_OCTETS:
            caller = next(iter(self._waiting))
            ack, future = self._waiting.pop(caller)
            batch.acknowledgements.append(signer_pb2.Acknowledgement(spiffe_id=caller, ack=ack))
            futures.append(future)
            octets += ack.ByteSize()
        return batch, futures
