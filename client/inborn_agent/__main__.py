"""`python -m inborn_agent`: the agent as the supervisor starts it, or, with `run`, without the `inborn` command."""

from __future__ import annotations

import sys

from inborn_agent.start import main

sys.exit(main(sys.argv[1:]))
