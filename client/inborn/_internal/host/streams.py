"""Standard streams that are closed: made to lead nowhere before anything else is opened. For programs, not libraries.

A program that was started without its standard output gets number 1 for the first file or socket that it opens, and
what it prints would go there.
"""

from __future__ import annotations

import os
import sys

__all__ = ["open_missing_streams"]


def open_missing_streams() -> None:
    """Open /dev/null in the place of each standard stream that is closed. Raises `OSError` where there is none."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has made None of what was closed when it started, and print(file=None) means standard output.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 -- for the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
