"""Run the benchmarks: all of them, or those that are named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks import attesting, enforcing, issuing, revoking, startup, waiting
from benchmarks.report import Figure, show

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "attesting": attesting.run,
    "issuing": issuing.run,
    "waiting": waiting.run,
    "revoking": revoking.run,
    "enforcing": enforcing.run,
    "startup": startup.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="one JSON document a figure")
    arguments = parser.parse_args()
    figures = [figure for name in arguments.names or BENCHMARKS for figure in BENCHMARKS[name]()]
    show(figures, as_json=arguments.json)
    return 1 if any(figure.verdict == "TOO HIGH" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
