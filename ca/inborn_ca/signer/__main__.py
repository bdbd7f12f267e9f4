"""`python -m inborn_ca.signer`: the signer as the supervisor starts it."""

from __future__ import annotations

import sys

from inborn_ca.signer.main import main

sys.exit(main())
