"""Run the benchmarks: all of them, or those that are named."""

from __future__ import annotations

import argparse
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
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr)
        made = table[name]()
        if arguments.json:
            show(made, as_json=True)
            sys.stdout.flush()
        figures += made
    if not arguments.json:
        show(figures, as_json=False)
    return 1 if any(figure.is_bad for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
