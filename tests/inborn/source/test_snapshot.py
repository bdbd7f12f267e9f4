"""Which identity a snapshot presents, and what it says where there is none that is valid now."""

from __future__ import annotations

import datetime as dt

import pytest

from inborn._internal.source.snapshot import NoIdentity
from inborn.testing import MemoryAuthority

WEB = "spiffe://example.org/web"


def test_an_identity_is_presented_only_while_it_is_valid(authority: MemoryAuthority) -> None:
    """One from before the clock was set back would be refused by every peer, in a handshake that says nothing of it."""
    snapshot = authority.source(WEB).snapshot()
    (svid,) = snapshot.svids
    begin, end = svid.leaf.not_valid_before_utc, svid.leaf.not_valid_after_utc
    for now in (begin - dt.timedelta(seconds=10), begin, end):  # clocks of two machines differ by seconds
        assert snapshot.svid(now) is svid
    with pytest.raises(NoIdentity, match=r"own certificate is valid from .*: a clock was ahead"):
        snapshot.svid(begin - dt.timedelta(days=1))
    with pytest.raises(NoIdentity, match="own certificate expired at "):
        snapshot.svid(end + dt.timedelta(seconds=1))
