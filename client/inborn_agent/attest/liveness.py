"""Wait for the end of a pinned process without a thread and without polling."""

from __future__ import annotations

import asyncio
import os

from inborn._internal.process.pinning import PinnedProcess, ProcessGone

__all__ = ["wait_exit"]


async def wait_exit(process: PinnedProcess) -> None:
    """Return when `process` has ended (or is no longer pinned). Several tasks may wait for one process."""
    loop = asyncio.get_running_loop()
    try:
        # A descriptor of one's own: a loop keeps one callback for each descriptor.
        pidfd = process.duplicate_pidfd()
    except ProcessGone:
        return
    ended = asyncio.Event()
    try:
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
    finally:
        os.close(pidfd)
