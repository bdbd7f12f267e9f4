"""`python -m inborn_ca.supervisor`: what `inborn up` and `inborn ca run` become."""

from __future__ import annotations

import sys

from inborn_ca.supervisor.main import main

sys.exit(main())
