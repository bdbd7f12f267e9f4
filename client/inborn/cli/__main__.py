"""`python -m inborn.cli`: the command without its entry point installed."""

from __future__ import annotations

import sys

from inborn.cli import main

sys.exit(main())
