"""`python -m inborn_ca.front`: the front as the supervisor starts it."""

from __future__ import annotations

import sys

from inborn_ca.front.main import main

sys.exit(main())
