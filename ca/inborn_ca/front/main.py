"""The front as a process: `python -m inborn_ca.front --signer-fd N --bootstrap HOST:PORT --api HOST:PORT`.

It is started by the supervisor, holds no file and no key of the CA, and ends when the signer does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

from inborn._internal.address import check_host, parse_address
from inborn.errors import InbornError
from inborn_cli.talk import say_error

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a front until SIGTERM or until the signer is gone; the exit status says whether it was told to end."""
    # Before grpc is loaded: its fork handlers are of no use here and cost a thread.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # What its core logs has texts of strangers in it as they came (a server name, the text of a GOAWAY): whole lines of
    # theirs would stand in our log, and escape sequences.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from inborn._internal.host.log import configure, get_logger
    from inborn._internal.metrics.metrics_address import parse_metrics_address
    from inborn_ca.front.server import FrontSettings
    from inborn_ca.link.link import LinkClosed
    from inborn_ca.supervisor.child_start import raise_file_limit, run_loop

    configure(os.environ.get("INBORN_LOG_LEVEL", "INFO"))
    options = _parser().parse_args(arguments)
    try:
        settings = FrontSettings(
            bootstrap=parse_address(options.bootstrap),
            api=parse_address(options.api),
            advertise=check_host(options.advertise) if options.advertise else "",
            metrics=parse_metrics_address(options.metrics) if options.metrics else None,
            crl=parse_address(options.crl) if options.crl else None,
        )
        raise_file_limit()
        return run_loop(_run(options.signer_fd, options.ready_fd, settings))
    except LinkClosed:
        get_logger("ca.front").warning("signer.gone")  # it has said why
        return 1
    except InbornError as e:
        say_error(e.message, e.hint)
        return 1


async def _run(signer_fd: int, ready_fd: int | None, settings: object) -> int:
    from inborn_ca.front.server import Front, FrontSettings
    from inborn_ca.link.link import Link
    from inborn_ca.supervisor.child_start import on_termination, report_ready, socket_from_fd

    assert isinstance(settings, FrontSettings)  # noqa: S101 -- for the type checker
    front: Front | None = None
    is_stopped = asyncio.Event()

    def stop() -> None:
        is_stopped.set()
        if front is not None:
            front.stop()

    on_termination(stop)
    link = await Link.open(
        socket_from_fd(signer_fd),
        on_requests=lambda requests: front.on_requests(requests) if front is not None else None,
        name="the signer",
    )
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
        ready_fd,
        {"trust_domain": front.trust_domain, "bootstrap": str(settings.bootstrap), "api": str(settings.api)},
    )
    await front.run()
    return 0 if is_stopped.is_set() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inborn_ca.front", description="The CA's network side.")
    parser.add_argument("--signer-fd", type=int, required=True, help="descriptor of the socket to the signer")
    parser.add_argument("--ready-fd", type=int, help="descriptor of a pipe that is told when the ports answer")
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--api", required=True, metavar="HOST:PORT")
    parser.add_argument("--crl", default="", metavar="HOST:PORT", help="CRLs over plain HTTP")
    parser.add_argument("--advertise", default="", metavar="HOST", help="how others reach this machine")
    parser.add_argument("--metrics", default="", metavar="HOST:PORT", help="Prometheus metrics, on loopback")
    return parser
