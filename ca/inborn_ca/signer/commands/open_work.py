"""Work that the database keeps until it is done: one task at a time goes on with it, also after a restart."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

__all__ = ["OpenWork"]


class OpenWork(ABC):
    """What does it says in `_run` how; that ends when nothing is open."""

    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with what is open: at the start of the process, and after each command that opened something."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def _run(self) -> None: ...
