"""The long forms of what the tests try shortly: `make soak`, or `python -m benchmarks.soak --kills 200 --rounds 2000`.

Everything runs on real processes in a temporary directory. Each part ends with one line of what it has seen; the exit
status is 1 if anything that was promised was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.rigs.fixtures_up import Machine, Only, echo, wait_for_paths
from tests.rigs.kill_rig import Load
from tests.rigs.revoke_race import race

__all__ = ["main"]

PROCESSES = ("signer", "front", "agent", "supervisor")


@contextlib.contextmanager
def running_machine() -> Iterator[Machine]:
    """`inborn up` in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="inborn-soak-") as directory:
        Path(directory).chmod(0o711)
        machine = Machine(Path(directory) / "d")
        try:
            machine.start()
            yield machine
        finally:
            machine.clean_up()


def kills(options: argparse.Namespace) -> str:
    """kill -9 of each process so many times, at random moments, while certificates are issued and revoked."""
    count: int = options.kills
    order = list(PROCESSES) * count
    random.shuffle(order)
    longest = 0.0
    with running_machine() as machine:
        with Load(machine) as load:
            for number, name in enumerate(order, 1):
                load.wait_for_progress(random.randrange(1, 12))
                began = time.monotonic()
                machine.kill(name)
                machine.wait_serving()
                longest = max(longest, time.monotonic() - began)
                _progress(
                    f"{number} of {len(order)} kills, {load.issued} certificates, {len(load.revoked)} revocations"
                )
        load.check_ledger()
        load.check_revocations()
        return (
            f"{count} kills of each process: {load.issued} certificates received, all in the ledger; "
            f"{len(load.revoked)} revocations acknowledged, all kept; up again within {longest:.1f} s"
        )


def races(options: argparse.Namespace) -> str:
    """Revocations against issuing, so many rounds."""
    with running_machine() as machine:
        outcome = asyncio.run(race(machine, options.rounds))
        return (
            f"{options.rounds} revocations raced with issuing: {outcome.issued} certificates issued before one, "
            f"all dead; {outcome.blocked} requests met the block"
        )


def rotation(options: argparse.Namespace) -> str:
    """Identities that live for two seconds, under traffic, for so long."""
    with running_machine() as machine:
        for path in ("/server", "/client"):
            machine.entry(path, ttl_seconds=2)
        with machine.source() as source:
            wait_for_paths(source, "/server", "/client")

            async def traffic() -> tuple[int, int]:
                requests = 0
                sides = Only(source, "/server"), Only(source, "/client")
                async with echo(*sides, server_path="/server", client_path="/client") as served:
                    deadline = time.monotonic() + options.minutes * 60
                    while time.monotonic() < deadline:
                        await asyncio.gather(*(served.request() for _ in range(4)))
                        requests += 4
                        if requests % 400 == 0:
                            _progress(f"{requests} requests, {len(served.presented)} certificates")
                    return requests, len(served.presented)

            requests, certificates = asyncio.run(traffic())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return f"{requests} requests over {certificates} certificates, none failed; this process took {memory:.0f} MiB"


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {"kills": kills, "races": races, "rotation": rotation}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--kills", type=int, default=200, help="of each process (default: 200)")
    parser.add_argument("--rounds", type=int, default=2000, help="of the race (default: 2000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of traffic (default: 10)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="to see the same moments again")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    logging.getLogger("inborn").setLevel(logging.ERROR)  # connections of what is killed fail
    random.seed(options.seed)
    print(f"seed {options.seed}")
    status = 0
    for name in options.parts or PARTS:
        began = time.monotonic()
        try:
            seen = PARTS[name](options)
        except Exception as e:
            status = 1
            seen = f"FAILED: {type(e).__name__}: {e}"
        _progress("")
        print(f"{name} ({time.monotonic() - began:.0f} s): {seen}", flush=True)
    return status


def _progress(text: str) -> None:
    """On a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
