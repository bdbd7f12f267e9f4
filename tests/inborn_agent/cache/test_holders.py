"""Who holds what, and what is left when somebody is lost."""

from __future__ import annotations

import datetime as dt

from inborn_agent.cache.holders import Holders
from tests.rigs.certificates import NOW

LATER = NOW + dt.timedelta(hours=1)
OLD, NEW, OTHER = b"\x01", b"\x02", b"\x03"


def test_what_nobody_else_holds_is_orphaned_and_so_is_the_one_before_it() -> None:
    holders = Holders()
    holders.gave(1, "web", OLD, LATER)
    holders.gave(1, "web", NEW, LATER)
    assert {orphan.serial for orphan in holders.lost(1)} == {OLD, NEW}
    assert 1 not in holders
    assert holders.lost(1) == []


def test_what_another_process_holds_is_not_orphaned_before_that_one_is_lost_too() -> None:
    holders = Holders()
    for holder in (1, 2):
        holders.gave(holder, "web", NEW, LATER)
    holders.gave(1, "web", OLD, LATER)
    assert [orphan.serial for orphan in holders.lost(1)] == [OLD]
    assert [orphan.serial for orphan in holders.lost(2)] == [NEW]


def test_a_loss_of_one_entry_leaves_the_others() -> None:
    holders = Holders()
    holders.gave(1, "web", NEW, LATER)
    holders.gave(1, "db", OTHER, LATER)
    assert holders.entries_of(1) == {"web", "db"}
    assert [orphan.entry_id for orphan in holders.lost(1, "db")] == ["db"]
    assert holders.entries_of(1) == {"web"}


def test_what_has_expired_is_nobodys() -> None:
    holders = Holders()
    holders.gave(1, "web", OLD, NOW)
    holders.gave(1, "web", NEW, LATER)
    holders.expire(NOW)
    assert [orphan.serial for orphan in holders.lost(1)] == [NEW]
