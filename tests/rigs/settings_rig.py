"""Starting a process of ours by hand, with its settings document, as the supervisor does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from inborn._internal.settings.document import command_line, sealed_document
from tests.rigs.up_rig import environment

__all__ = ["started_with"]


def started_with(
    module: str,
    document: object,
    *,
    pass_fds: Sequence[int] = (),
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """`document` is a dataclass, or the bytes of one that may be bad."""
    if isinstance(document, bytes):
        descriptor = os.memfd_create("bad settings")
        os.write(descriptor, document)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        descriptor = sealed_document(document)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, *command_line(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[descriptor, *pass_fds],
            env=environment(),
        )
    finally:
        os.close(descriptor)
