"""The front as a process: `python -m inborn_ca.front --settings-fd N`.

It is started by the supervisor, holds no file and no key of the CA, and ends when the signer does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from inborn._internal.settings.child_entry import run_with_settings
from inborn_ca.settings import FrontStart

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a front until SIGTERM or until the signer is gone; the exit status says whether it was told to end."""
    return run_with_settings(sys.argv[1:] if arguments is None else arguments, FrontStart, _start)


def _start(start: FrontStart) -> int:
    # Before grpc is loaded: its fork handlers are of no use here and cost a thread.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # What its core logs has texts of strangers in it as they came (a server name, the text of a GOAWAY): whole lines of
    # theirs would stand in our log, and escape sequences.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from inborn._internal.host.log import configure, get_logger
    from inborn_ca.link.link import LinkClosed
    from inborn_ca.supervisor.child_start import raise_file_limit, run_loop

    configure(start.settings.log_level)
    raise_file_limit()
    try:
        return run_loop(_run(start))
    except LinkClosed:
        get_logger("ca.front").warning("signer.gone")  # it has said why
        return 1


async def _run(start: FrontStart) -> int:
    from inborn_ca.front.server import Front
    from inborn_ca.link.link import Link
    from inborn_ca.supervisor.child_start import on_termination, report_ready, socket_from_fd

    front: Front | None = None
    is_stopped = asyncio.Event()

    def stop() -> None:
        is_stopped.set()
        if front is not None:
            front.stop()

    on_termination(stop)
    link = await Link.open(
        socket_from_fd(start.signer_fd),
        on_requests=lambda requests: front.on_requests(requests) if front is not None else None,
        name="the signer",
    )
    settings = start.settings
    front = Front(link, settings)
    starting = asyncio.create_task(front.start())
    stopping = asyncio.create_task(is_stopped.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await front.close()
        return 0
    await starting
    report_ready(
        start.ready_fd,
        {"trust_domain": front.trust_domain, "bootstrap": str(settings.bootstrap), "api": str(settings.api)},
    )
    await front.run()
    return 0 if is_stopped.is_set() else 1
