"""A trust domain in memory and servers on it, for tests of the library."""

from __future__ import annotations

import pytest

from inborn.testing import MemoryAuthority


@pytest.fixture
def authority() -> MemoryAuthority:
    return MemoryAuthority("example.org")
