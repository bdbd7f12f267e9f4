"""Run the benchmarks: all of them, or those that are named."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

from benchmarks import attesting, ci, enforcing, fanout, issuing, path, revoking, startup, storing, waiting
from benchmarks.report import Figure, show

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "path": path.run,
    "issuing": issuing.run,
    "storing": storing.run,
    "attesting": attesting.run,
    "waiting": waiting.run,
    "revoking": revoking.run,
    "enforcing": enforcing.run,
    "fanout": fanout.run,
    "startup": startup.run,
}
NAMES = ", ".join([*BENCHMARKS, "ci"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS, "ci"], metavar="NAME", help=NAMES)
    parser.add_argument("--json", action="store_true", help="one JSON document a figure")
    parser.add_argument("--full", action="store_true", help="storing: ten million rows instead of one")
    arguments = parser.parse_args()
    table = BENCHMARKS | {"ci": ci.run}
    if arguments.full:
        table["storing"] = lambda: storing.run(full=True)
    figures: list[Figure] = []
    names = arguments.names or list(BENCHMARKS)
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        made = table[name]() if len(names) == 1 else _alone(name, full=arguments.full)
        if arguments.json:
            show(made, as_json=True)
            sys.stdout.flush()
        figures += made
    if not arguments.json:
        show(figures, as_json=False)
    return 1 if any(figure.is_bad for figure in figures) else 0


def _alone(name: str, *, full: bool) -> list[Figure]:
    """A benchmark in a process of its own: its load pays for nothing that another one has left behind."""
    command = [sys.executable, "-m", "benchmarks", name, "--json", *(["--full"] if full else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not lines:
        raise RuntimeError(f"benchmark {name} ended with {done.returncode} and no figure")
    return [Figure(**{key: value for key, value in line.items() if key != "verdict"}) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
