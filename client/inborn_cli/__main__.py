"""`python -m inborn_cli`: the command without its entry point installed."""

from __future__ import annotations

import sys

from inborn_cli import main

sys.exit(main())
