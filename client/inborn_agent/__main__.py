"""`python -m inborn_agent --settings-fd N`: the agent as the supervisor starts it."""

from __future__ import annotations

import sys

from inborn_agent.start import main

sys.exit(main(sys.argv[1:]))
