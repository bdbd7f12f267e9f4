"""`python -m examples.demo`: exit 0 if every check held, 1 if one did not, 128 + N after signal N."""

from __future__ import annotations

import os
import sys

from examples.demo.interruption import Interrupted, Interruptions
from examples.demo.narration import CheckFailed, Narrator
from examples.demo.story import tell
from inborn.errors import InbornError

__all__ = ["main"]


def main() -> int:
    os.umask(0o022)  # other users must be able to run the programs that the demo makes
    narrator, interruptions = Narrator(sys.stdout), Interruptions()
    interruptions.install()
    try:
        tell(narrator, interruptions)
    except CheckFailed as failed:
        print(f"error: {failed.message}", file=sys.stderr)
        print(f"  expected: {failed.expected}\n  seen:     {failed.seen}", file=sys.stderr)
        return 1
    except (InbornError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"error: {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    return 0


if __name__ == "__main__":
    sys.exit(main())
