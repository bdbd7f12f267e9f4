"""The demo's uninvited: asks for an identity with the command that everybody has, then stays to be looked at.

python -m examples.demo.stranger --socket S
"""

from __future__ import annotations

import argparse
import os
import sys

from examples.demo.reports import report
from inborn_cli import main as inborn

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    socket = parser.parse_args().socket
    report("started", pid=os.getpid(), uid=os.getuid())
    status = inborn(["svid", "fetch", "--timeout", "1s", "--socket", socket])
    report("asked", status=status)
    sys.stdin.read()


if __name__ == "__main__":
    main()
