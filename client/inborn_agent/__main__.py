"""`python -m inborn_agent run`: the agent as the supervisor starts it."""

from __future__ import annotations

import sys

from inborn_agent.cli import main

sys.exit(main())
